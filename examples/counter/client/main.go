// Command client opens a session and counts in it: every call meets the same total.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/limpet-rpc/limpet/client"
)

func main() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	counter, err := c.Open(ctx, "counter")
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range []int{1, 2, 39} {
		total, err := client.Call[int](ctx, counter, "add", n)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("add %d = %d, on process %d\n", n, total, counter.Route().PID)
	}
	if err := counter.Close(ctx); err != nil {
		log.Fatal(err)
	}
}
