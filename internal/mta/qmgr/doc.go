// Package qmgr is the queue manager, qmgr(8): it decides when a queued message
// is tried, where its recipients go, how many deliveries a destination gets at
// once, and what follows from the outcomes.
//
// # The way of a message
//
// A fresh message comes from the store in the goroutine of its session and is
// passed to a resolver goroutine, so that a slow table never delays the client.
// The resolver groups the recipients by destination, transport and next hop,
// and queues a batch at each. A worker of the transport takes batches, as many
// recipients at a time as one delivery may have, and calls the agent. Workers
// are goroutines that live on between deliveries; there is none per message.
// The worker whose delivery is the last of a message ends the round: reports to
// the sender, then removal or deferral.
//
// # Scheduling
//
// Destinations with work take turns within their transport. Within a
// destination messages take turns too, a delivery each, so that a message for
// a few recipients never waits for one for thousands. This stands in for the
// preemption of Postfix, where large mail has to earn with its deliveries the
// slots in which small mail goes before it: TestSmallMailLikePostfix shows that
// here it waits less. Its parameters (delivery slots) have no effect, nor have
// those of the recipients that Postfix keeps in memory: a message that is delivered
// is in memory with all of them.
//
// The number of deliveries at once follows Postfix's feedback scheme
// (SCHEDULER_README): it starts at initial_destination_concurrency, grows with
// deliveries that reach the destination, shrinks with those that do not, and
// when as many fail in a row as there are at once (a cohort), the destination
// is dead: its mail is deferred without a try for minimal_backoff_time.
//
// What could not be delivered is tried again after the age of the message,
// but between minimal_backoff_time and maximal_backoff_time, at the next scan
// of the deferred queue, every queue_run_delay. After maximal_queue_lifetime it
// is returned.
//
// # Promises
//
// An outcome is recorded in the store before it is logged, and a notification
// is durable before the outcomes that it tells are dropped. An agent that
// panics defers its recipients.
package qmgr
