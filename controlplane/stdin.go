package main

import (
	"fmt"
	"io"
	"os"
)

// stopWithStdin names the environment variable that ties a server's life to its standard input.
const stopWithStdin = "BURSTLET_STOP_WITH_STDIN"

// exitWithStdin ends the process when standard input closes. The parent holds the other end of a pipe and writes nothing:
// however the parent ends, kill -9 included, the kernel closes its end, so no server outlives it.
func exitWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	fmt.Fprintln(os.Stderr, "controlplane: the parent process is gone: exit")
	os.Exit(0)
}
