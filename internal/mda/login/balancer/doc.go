// Package balancer takes the header of the PROXY protocol from connections to an
// inet_listener with haproxy = yes, of the login services and LMTP: whom a load
// balancer speaks for. Which balancers are believed is haproxy_trusted_networks; who
// else connects to such a listener is sent away unheard.
package balancer
