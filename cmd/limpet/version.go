package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "The versions of limpet and what it speaks",
		Long:    "The versions of limpet, of its protocol, and of the ZeroMQ wire protocol that\ncarries it.",
		Example: "  limpet version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			protocol := fmt.Sprint(wire.Version)
			if wire.MinVersion != wire.Version {
				protocol = fmt.Sprintf("%d to %d", wire.MinVersion, wire.Version)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "limpet    %s\nprotocol  %s\nzmtp      %s\ngo        %s %s/%s\n",
				version.String(), protocol, zmtp.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
