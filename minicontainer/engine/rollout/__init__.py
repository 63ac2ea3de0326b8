"""Rollouts: a new version of a service takes over from the old one, and no client notices.

A **rollout** is a service that is always there: a load balancer (HAProxy) that listens on a port of the host, and
replicas of one image behind it. It has two colours. The one that takes the traffic is **live**; the other one is
empty until a new version is deployed there. Two strategies bring the traffic over:

* **blue-green**: the new version is started and tested while nobody uses it. Then all traffic goes to it in one
  step, and the old version stays beside it, ready to take everything back.
* **canary**: the new version gets a small share of the traffic, is watched, and gets more when it does well, step
  by step. When it does not, its share falls to nothing, and few have been served by it.

Who carries the requests is HAProxy, a process like any other; what we do is telling it who gets how much. Nothing
of ours keeps running: ``deploy`` is a command that takes one step after the other, and what it is about to do is
written down before it does it. When it is interrupted, by Ctrl-C or because its terminal is closed, all traffic
goes back to the old version, for nobody would watch the new one. When it is killed, HAProxy goes on with the shares
that it was told last; ``status`` says what was under way, and ``promote`` and ``abort`` finish it.

====================  ==================================================================
``weights``           a share of the traffic, in the whole numbers that HAProxy takes
``runtime_api``       talking to HAProxy while it runs
``haproxy``           its configuration and its process
``balancer``          the two colours in it: who gets how much, and letting go of one
``bounds``            does a version do well enough?
``probes``            is a replica ready, and does it pass its test?
``replicas``          the containers of a colour
``record``            what is written down of a rollout, and who may change it
``deployment``        the two strategies
``rollout``           all of it in one object
====================  ==================================================================
"""
