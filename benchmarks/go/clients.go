package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// clients are a producer that lives as long as the process, and new consumers. What is not said here is the client's default.
type clients struct {
	nameServer string
	shared     rocketmq.Producer
}

func (c *clients) producer() (rocketmq.Producer, error) {
	if c.shared != nil {
		return c.shared, nil
	}
	made, err := rocketmq.NewProducer(
		producer.WithGroupName("bench_go"),
		producer.WithNameServer(primitive.NamesrvAddr{c.nameServer}),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithCompressMsgBodyOverHowmuch(math.MaxInt), // bodies that are all 'x' would measure zlib
	)
	if err != nil {
		return nil, err
	}
	if err := made.Start(); err != nil {
		return nil, err
	}
	c.shared = made
	return made, nil
}

// consumer answers a consumer that was not started yet, of a group that reads the topic from its beginning. It has an instance, and with it
// connections, of its own: a consumer that is shut down while queues are handed out to it stops those of all others on the same instance.
func (c *clients) consumer(group, topic string, ordered bool, listener func(*primitive.MessageExt)) (rocketmq.PushConsumer, error) {
	made, err := rocketmq.NewPushConsumer(
		consumer.WithGroupName(group),
		consumer.WithInstance(group),
		consumer.WithNameServer(primitive.NamesrvAddr{c.nameServer}),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerOrder(ordered),
	)
	if err != nil {
		return nil, err
	}
	handle := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			listener(message)
		}
		return consumer.ConsumeSuccess, nil
	}
	return made, made.Subscribe(topic, consumer.MessageSelector{}, handle)
}

func (c *clients) shutdown() {
	if c.shared != nil {
		stop(c.shared)
	}
}

// stop shuts a client down; what fails then spoils no figure.
func stop(client interface{ Shutdown() error }) {
	if err := client.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
