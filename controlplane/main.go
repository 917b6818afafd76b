// Command controlplane is a Kubernetes control plane in one binary: its first argument says which component this process is.
package main

import (
	"fmt"
	"os"
	_ "time/tzdata" // time zones of CronJobs, on machines that have no zone files
)

func main() {
	if len(os.Args) < 2 {
		fail("which component?")
	}
	name := os.Args[1]
	switch name {
	case "version":
		printVersions()
		return
	case "kubectl":
		os.Exit(runAs(name, kubectl))
	}
	serve, known := servers[name]
	if !known {
		fail(fmt.Sprintf("unknown component %q", name))
	}
	if os.Getenv(stopWithStdin) == "1" {
		go exitWithStdin()
	}
	os.Exit(runAs(name, serve))
}

// runAs runs a component as if the binary were the component's own: flag parsers and user agents read os.Args.
func runAs(name string, run func() int) int {
	os.Args = append([]string{name}, os.Args[2:]...)
	return run()
}

func fail(reason string) {
	fmt.Fprintf(os.Stderr, "controlplane: %s: give one of %s as the first argument\n", reason, componentNames())
	os.Exit(2)
}
