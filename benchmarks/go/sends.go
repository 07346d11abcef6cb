package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// A send that the broker or the client refuses counts as failed; the round goes on.

func succeeded(result *primitive.SendResult, err error) bool {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return false
	}
	return result.Status == primitive.SendOK
}

func sendOneAtATime(c *clients, asked request) (answer, error) {
	producer, err := c.producer()
	if err != nil {
		return answer{}, err
	}
	latencies := make([]time.Duration, asked.Count)
	m := begin()
	failed := sendRange(producer, asked.Topic, bodiesOf(asked.Size), latencies, 0)
	return m.end().answer(asked.Count, failed, latencies)
}

func sendThreads(c *clients, asked request) (answer, error) {
	producer, err := c.producer()
	if err != nil {
		return answer{}, err
	}
	pattern := bodiesOf(asked.Size)
	latencies := make([]time.Duration, asked.Count)
	var failed atomic.Int64
	var running sync.WaitGroup
	m := begin()
	for thread := range asked.Threads {
		from, to := asked.Count*thread/asked.Threads, asked.Count*(thread+1)/asked.Threads
		running.Add(1)
		go func() {
			defer running.Done()
			failed.Add(int64(sendRange(producer, asked.Topic, pattern, latencies[from:to], from)))
		}()
	}
	running.Wait()
	return m.end().answer(asked.Count, int(failed.Load()), latencies)
}

// sendRange sends one message for each latency, the first with the number `first`, and answers how many failed.
func sendRange(producer rocketmq.Producer, topic string, pattern bodies, latencies []time.Duration, first int) int {
	failed := 0
	for index := range latencies {
		message := primitive.NewMessage(topic, pattern.make(int64(first+index)))
		began := time.Now()
		if !succeeded(producer.SendSync(context.Background(), message)) {
			failed++
		}
		latencies[index] = time.Since(began)
	}
	return failed
}

func sendBatches(c *clients, asked request) (answer, error) {
	producer, err := c.producer()
	if err != nil {
		return answer{}, err
	}
	pattern := bodiesOf(asked.Size)
	failed := 0
	m := begin()
	for first := 0; first < asked.Count; first += asked.Batch {
		batch := make([]*primitive.Message, min(asked.Batch, asked.Count-first))
		for index := range batch {
			batch[index] = primitive.NewMessage(asked.Topic, pattern.make(int64(first+index)))
		}
		if !succeeded(producer.SendSync(context.Background(), batch...)) {
			failed += len(batch)
		}
	}
	return m.end().answer(asked.Count, failed, nil)
}

func sendInFlight(c *clients, asked request) (answer, error) {
	producer, err := c.producer()
	if err != nil {
		return answer{}, err
	}
	pattern := bodiesOf(asked.Size)
	window := make(chan struct{}, asked.Window)
	var failed atomic.Int64
	answered := func(_ context.Context, result *primitive.SendResult, err error) {
		if !succeeded(result, err) {
			failed.Add(1)
		}
		<-window
	}
	m := begin()
	for number := range asked.Count {
		window <- struct{}{}
		message := primitive.NewMessage(asked.Topic, pattern.make(int64(number)))
		if err := producer.SendAsync(context.Background(), answered, message); err != nil {
			answered(nil, nil, err)
		}
	}
	for range asked.Window {
		window <- struct{}{}
	}
	return m.end().answer(asked.Count, int(failed.Load()), nil)
}

// sendOneway needs not wait for anything: a call returns when the message is in the socket. What the client refuses is missing in the
// broker, where these messages are counted.
func sendOneway(c *clients, asked request) (answer, error) {
	producer, err := c.producer()
	if err != nil {
		return answer{}, err
	}
	pattern := bodiesOf(asked.Size)
	m := begin()
	for number := range asked.Count {
		message := primitive.NewMessage(asked.Topic, pattern.make(int64(number)))
		if err := producer.SendOneWay(context.Background(), message); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return m.end().answer(asked.Count, 0, nil)
}
