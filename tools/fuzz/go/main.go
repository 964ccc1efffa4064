// Says how Go programs read a message: one base64 line in, one JSON line out.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

type params struct {
	Name      string         `json:"name"`
	URI       string         `json:"uri"`
	Arguments map[string]any `json:"arguments"`
}

type reading struct {
	OK     bool    `json:"ok"`
	Method string  `json:"method"`
	Params *params `json:"params"`
}

func std(body []byte) reading {
	var whole any
	var typed struct {
		Method string  `json:"method"`
		Params *params `json:"params"`
	}
	if json.Unmarshal(body, &whole) != nil || json.Unmarshal(body, &typed) != nil {
		return reading{}
	}
	return reading{true, typed.Method, typed.Params}
}

func sdk(body []byte) reading {
	message, err := jsonrpc.DecodeMessage(body)
	if err != nil {
		return reading{}
	}
	request, ok := message.(*jsonrpc.Request)
	if !ok {
		return reading{OK: true}
	}
	read := reading{OK: true, Method: request.Method}
	if len(request.Params) > 0 {
		var p params
		if json.Unmarshal(request.Params, &p) != nil {
			return reading{}
		}
		read.Params = &p
	}
	return read
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		body, err := base64.StdEncoding.DecodeString(in.Text())
		if err != nil {
			os.Exit(1)
		}
		line, err := json.Marshal(map[string]reading{"std": std(body), "sdk": sdk(body)})
		if err != nil {
			line = []byte("{}")
		}
		out.Write(line)
		out.WriteByte('\n')
		out.Flush()
	}
}
