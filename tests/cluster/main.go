// A Kubernetes control plane in one binary, for tests: an API server, the controllers that DNS depends on, etcd, and
// kubectl. It is run by `cargo xtask cluster`, on loopback only, and keeps everything in one directory.
package main

import (
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const usage = "usage: cluster up DIR | etcd DIR ADDRESS | apiserver FLAGS... | controller-manager FLAGS... | kubectl ARGS..."

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	part := os.Args[1]
	// What follows is the part's own command line.
	os.Args = append([]string{part}, os.Args[2:]...)
	switch part {
	case "up":
		exit(up(os.Args[1:]))
	case "etcd":
		exit(etcd(os.Args[1:]))
	case "apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kubectl":
		if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

// exit ends the process, with the error if there is one.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
