package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// relay hands every connection of the listening socket it inherits as file descriptor 3 to `host:port`.
// The socket was made in the host's network namespace and this process runs in the node's: that is how the host reaches the
// cluster without an interface, an address or a route of its own. Names are looked up anew for each connection.
func relay(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("want one argument, host:port")
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("file descriptor 3 must be a listening socket: %w", err)
	}
	for {
		incoming, err := listener.Accept()
		if err != nil {
			return err
		}
		go pass(incoming.(*net.TCPConn), arguments[0])
	}
}

func pass(incoming *net.TCPConn, target string) {
	defer incoming.Close()
	dialer := net.Dialer{Resolver: &net.Resolver{PreferGo: true}}
	within, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	connection, err := dialer.DialContext(within, "tcp", target)
	if err != nil {
		fmt.Fprintf(os.Stderr, "relay: %s: %v\n", target, err)
		return
	}
	outgoing := connection.(*net.TCPConn)
	defer outgoing.Close()
	back := make(chan struct{})
	go func() {
		copyHalf(incoming, outgoing)
		close(back)
	}()
	copyHalf(outgoing, incoming)
	<-back
}

// copyHalf copies one direction and then says so to the reader, so that a half-closed connection stays one.
func copyHalf(to, from *net.TCPConn) {
	io.Copy(to, from)
	to.CloseWrite()
}
