// Reads a log as Go's own implementation of checkpoints and trees does: what it agrees with, anybody can check.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proof struct {
	Leaf  string   `json:"leaf"`
	Index int64    `json:"index"`
	Size  int64    `json:"size"`
	Root  string   `json:"root"`
	Path  []string `json:"path"`
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	return value
}

func hashOf(text string) (h tlog.Hash) {
	copy(h[:], must(base64.StdEncoding.DecodeString(text)))
	return
}

// tlog LINES CHECKPOINT VERIFIER PROOF SKEY: files, but for the keys
func main() {
	lines := bytes.Split(bytes.TrimSuffix(must(os.ReadFile(os.Args[1])), []byte("\n")), []byte("\n"))
	verifier := must(note.NewVerifier(os.Args[3]))
	opened := must(note.Open(must(os.ReadFile(os.Args[2])), note.VerifierList(verifier)))
	fields := strings.Split(opened.Text, "\n")
	var size int64
	must(fmt.Sscan(fields[1], &size))
	root := hashOf(fields[2])

	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = hashes[at]
		}
		return out, nil
	})
	for i, line := range lines {
		hashes = append(hashes, must(tlog.StoredHashes(int64(i), line, reader))...)
	}
	if have := must(tlog.TreeHash(size, reader)); have != root {
		fmt.Println("no: root", have, "is not", root)
		os.Exit(1)
	}
	var p proof
	must(0, json.Unmarshal(must(os.ReadFile(os.Args[4])), &p))
	var path tlog.RecordProof
	for _, hash := range p.Path {
		path = append(path, hashOf(hash))
	}
	must(0, tlog.CheckRecord(path, p.Size, hashOf(p.Root), p.Index, hashOf(p.Leaf)))

	signer := must(note.NewSigner(os.Args[5]))
	os.Stdout.Write(must(note.Sign(&note.Note{Text: "go.example/log\n" + fields[1] + "\n" + fields[2] + "\n"}, signer)))
}
