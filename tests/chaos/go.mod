module github.com/limpet-rpc/limpet/tests/chaos

go 1.26.0

replace github.com/limpet-rpc/limpet => ../..
