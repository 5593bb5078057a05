// Package bridge turns notifications of Prometheus Alertmanager into
// remediations: durable workflows in Temporal, one for each episode of an
// alert.
//
// The rules of this layer:
//
//   - It talks to Temporal, and to Alertmanager where it is given one, and to
//     nothing else: no device, no database. It can stand in a DMZ, and holds
//     nothing that a restart could lose.
//   - A message is answered 2xx only after Temporal has acknowledged every
//     start in it. When that cannot be had the answer is 503, the one kind
//     that Alertmanager sends again; what did start is recognised at the
//     resend by its workflow ID.
//   - 4xx is for a message that can never work, and 429 is never answered:
//     Alertmanager would drop the notification.
//   - One alert that can never work (no device label, say) is refused, counted
//     and logged, and does not hold up the others of its message.
//   - Whatever comes from an alert is checked before it becomes part of an ID.
package bridge
