package main

import (
	"fmt"
	"os"
	"runtime/debug"
)

// printVersions prints one line for each project in the binary, as `module version`.
func printVersions() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		fmt.Fprintln(os.Stderr, "controlplane: the binary carries no build information")
		os.Exit(1)
	}
	shown := map[string]bool{
		"go.etcd.io/etcd/server/v3":  true,
		"k8s.io/kubernetes":          true,
		"k8s.io/kubectl":             true,
		"sigs.k8s.io/metrics-server": true,
	}
	for _, module := range info.Deps {
		if !shown[module.Path] {
			continue
		}
		version := module.Version
		if module.Replace != nil {
			version = module.Replace.Version
		}
		fmt.Printf("%s %s\n", module.Path, version)
	}
}
