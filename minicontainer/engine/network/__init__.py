"""Networks: a cable for each container, a switch for each network, and the rules of the road between them.

A container has a network namespace of its own, in which there is nothing but a loopback device. Its **end** of a
network is a **veth**: a virtual cable, with one plug in the container, called eth0, and the other in a **bridge**,
a switch that the kernel plays. The host has a plug in every bridge too, with the address that the containers know
as their gateway; what they send there is routed, by rules of **nftables** (:mod:`.firewall`). ::

      container web            host                           container db
      ┌───────────┐   ┌────────────────────────────────┐   ┌───────────┐
      │ eth0 ─────┼───┼─ vethweb ─┐         ┌─ vethdb ─┼───┼───── eth0 │
      │ .2        │   │           mc-1f0c bridge       │   │        .3 │
      └───────────┘   │              .1                │   └───────────┘
                      │  NAT         │                 │
                      │  eth0 ───────┘                 │
                      └────┼───────────────────────────┘

What is there to stay and what comes and goes are made in two ways. A network's bridge is made once, by pyroute2,
the library that knows all of netlink (:mod:`.bridges`). But importing it takes half a second, ten times as long as
the whole start of a container; so what each container needs, a veth, its addresses and a route, is five messages
on a socket of our own (:mod:`.wires`), which take two milliseconds.

On disk::

    networks/<name>.json                     a network, in the words of Docker's API (.networks)
    run/.networks/<name>/ends/<id>.json      the end of a container that runs (.end)
    run/.networks/<name>/addresses/<ip>      a symlink to the container that has it
    run/.networks/lock                       held by whoever changes any of it
    /run/minicontainer/.subnets              held by whoever chooses a subnet, of all engines here (.subnets)

One lock serves all, for what follows from a change is written whole from what is on disk: the table of nftables,
and the /etc/hosts of every container that sees a name come or go. Whoever comes last has seen all that was before.
"""
