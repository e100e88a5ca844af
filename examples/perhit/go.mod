module github.com/limpet-rpc/limpet/examples/perhit

go 1.26.0

require (
	github.com/google/uuid v1.6.0
	github.com/limpet-rpc/limpet v0.0.0
)

replace github.com/limpet-rpc/limpet => ../..
