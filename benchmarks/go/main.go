// Command bench-peer is the Go client's side of the benchmarks: one JSON request per line on standard input, one JSON answer per line on
// standard output. The process and its producer stay up over all rounds. The only argument is the name server's address.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// request is what one line asks for.
type request struct {
	Command  string `json:"cmd"`
	Topic    string `json:"topic"`
	Size     int    `json:"size"`     // bytes of each body
	Count    int    `json:"count"`    // messages of the round
	Group    string `json:"group"`    // a consumer group that nobody used before
	Window   int    `json:"window"`   // unanswered asynchronous sends at most
	Threads  int    `json:"threads"`  // goroutines that share the producer
	Batch    int    `json:"batch"`    // messages of a batch
	Rate     int    `json:"rate"`     // messages per second
	Distinct int    `json:"distinct"` // how many numbers the topic's messages have, 0 when unknown
	Ordered  bool   `json:"ordered"`  // whether the listener is the ordered one
}

type answer struct {
	Count      int            `json:"count"`
	Failed     int            `json:"failed"`
	Seconds    float64        `json:"seconds"`
	CPUSeconds float64        `json:"cpu_seconds"`
	RSSBytes   int64          `json:"rss_bytes"`
	LatencyUs  *percentilesUs `json:"latency_us,omitempty"`
}

type failure struct {
	Error string `json:"error"`
}

type workload func(*clients, request) (answer, error)

var workloads = map[string]workload{
	"send_one_at_a_time": sendOneAtATime,
	"send_threads":       sendThreads,
	"send_in_flight":     sendInFlight,
	"send_batches":       sendBatches,
	"send_oneway":        sendOneway,
	"push_concurrent":    func(c *clients, r request) (answer, error) { return push(c, r, false) },
	"push_ordered":       func(c *clients, r request) (answer, error) { return push(c, r, true) },
	"first_message":      firstMessage,
	"latency":            latency,
	"idle_memory":        idleMemory,
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bench-peer HOST:PORT")
		os.Exit(2)
	}
	answers := json.NewEncoder(os.Stdout)
	os.Stdout = os.Stderr // whatever a library prints is no answer
	rlog.SetLogLevel("error")
	known := &clients{nameServer: os.Args[1]}
	defer known.shutdown()
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		if err := answers.Encode(carryOut(known, requests.Bytes())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
	}
}

// carryOut answers an answer or a failure.
func carryOut(known *clients, line []byte) any {
	asked := request{Window: 256, Threads: 16, Batch: 32, Rate: 200}
	if err := json.Unmarshal(line, &asked); err != nil {
		return failure{err.Error()}
	}
	run, ok := workloads[asked.Command]
	if !ok {
		return failure{"unsupported"}
	}
	result, err := run(known, asked)
	if err != nil {
		return failure{err.Error()}
	}
	return result
}
