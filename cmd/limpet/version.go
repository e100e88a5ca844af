package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "The versions of limpet, its protocol and libzmq",
		Long:    "The versions of limpet, of the protocol it speaks, and of the libzmq it runs\nwith. The exit code is 1 if that libzmq does not suffice.",
		Example: "  limpet version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			library, err := zmqio.CheckLibrary()
			curve := "no"
			if zmqio.HasCurve() {
				curve = "yes"
			}
			protocol := fmt.Sprint(wire.Version)
			if wire.MinVersion != wire.Version {
				protocol = fmt.Sprintf("%d to %d", wire.MinVersion, wire.Version)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "limpet    %s\nprotocol  %s\nlibzmq    %s\ncurve     %s\ngo        %s %s/%s\n",
				version.String(), protocol, library, curve, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
