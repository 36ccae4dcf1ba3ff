// The parser that Kubernetes vendors, asked line by line: "schedule TAB zone TAB time" gives the next four starts in UTC, or "error".
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		parts := strings.Split(lines.Text(), "\t")
		schedule, err := cron.ParseStandard(parts[0])
		if err != nil {
			fmt.Println("error")
			continue
		}
		zone, err := time.LoadLocation(parts[1])
		if err != nil {
			panic(err)
		}
		moment, err := time.Parse(time.RFC3339, parts[2])
		if err != nil {
			panic(err)
		}
		moment = moment.In(zone)
		var starts []string
		for range 4 {
			if moment = schedule.Next(moment); moment.IsZero() {
				break
			}
			starts = append(starts, moment.UTC().Format(time.RFC3339))
		}
		fmt.Println(strings.Join(starts, " "))
	}
}
