package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// reap is the node's process 1: it collects orphans (containers' shims leave some) until it is killed, and everything in the
// process namespace with it.
func reap([]string) error {
	if os.Getpid() != 1 {
		return errors.New("this is meant to be process 1 of a process namespace")
	}
	ended := make(chan os.Signal, 64)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended {
		for {
			child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if child <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}
