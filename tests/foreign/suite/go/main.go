// What users do with the Go client, as scenarios that look at their results themselves: a line {"cmd": "plain"} asks for the outcome of
// one, an answer with "error" says what was wrong. All begin at once; the end of input ends the process, whose clients would take
// many seconds to shut down.
// Arguments: name servers, those with access control, what names of topics and groups end with, scenarios.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var scenarios = map[string]func() error{
	"plain":         plain,
	"async":         async,
	"oneway":        oneway,
	"batch":         batch,
	"large":         large,
	"delay_level":   delayLevel,
	"transaction":   transaction,
	"request_reply": requestReply,
	"push":          push,
	"ordered":       ordered,
	"broadcast":     broadcast,
	"tags":          tags,
	"sql92":         sql92,
	"pull":          pull,
	"acl":           acl,
}

func main() {
	nameServers, guarded, suffix = os.Args[1], os.Args[2], os.Args[3]
	rlog.SetLogLevel("error")
	outcomes := map[string]chan error{}
	for _, name := range strings.Split(os.Args[4], ",") {
		outcome := make(chan error, 1)
		outcomes[name] = outcome
		go func(run func() error) { outcome <- run() }(scenarios[name])
	}
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var request struct{ Cmd string }
		answer := map[string]string{}
		if err := json.Unmarshal(requests.Bytes(), &request); err != nil {
			answer["error"] = err.Error()
		} else if err := <-outcomes[request.Cmd]; err != nil {
			answer["error"] = err.Error()
		}
		line, _ := json.Marshal(answer)
		fmt.Println(string(line))
	}
}
