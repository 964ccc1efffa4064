module mcp-opa-sidecar/tools/fuzz/go

go 1.25.0

require github.com/modelcontextprotocol/go-sdk v1.7.0

require (
	github.com/segmentio/asm v1.1.3 // indirect
	github.com/segmentio/encoding v0.5.4 // indirect
	golang.org/x/sys v0.41.0 // indirect
)
