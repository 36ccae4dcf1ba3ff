// What a node needs beside the upstream programs, small and static: its process 1, the relay to the host, and the process that
// holds a pod's namespaces open (which is all that the pause image has in it, and what runs without an argument).
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		pause()
		return
	}
	run, known := map[string]func([]string) error{"init": reap, "relay": relay}[os.Args[1]]
	if !known {
		fmt.Fprintf(os.Stderr, "unknown command %q; there are init and relay\n", os.Args[1])
		os.Exit(2)
	}
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func pause() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
