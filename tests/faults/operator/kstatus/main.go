// Flux's library, asked object by object: a line of JSON gives the status that Flux waits for, and its message.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	objects := json.NewDecoder(os.Stdin)
	for objects.More() {
		var text json.RawMessage
		if err := objects.Decode(&text); err != nil {
			panic(err)
		}
		var object unstructured.Unstructured
		// it reads whole numbers as such, which the library requires
		if err := object.UnmarshalJSON(text); err != nil {
			panic(err)
		}
		result, err := status.Compute(&object)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\t%s\n", result.Status, result.Message)
	}
}
