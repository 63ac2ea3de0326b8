"""Registries: images over HTTP.

A registry keeps three things below a repository's name: blobs by their digests, manifests by their digests,
and tags, each a name for a manifest. ``GET`` fetches them, ``PUT`` brings them, and since all but a tag is named
by its sha256, it does not matter through whose hands the bytes went. The OCI distribution specification
(https://github.com/opencontainers/distribution-spec) is that protocol; Docker's registry spoke it first.

The modules, from the ground up: where a registry is (:mod:`hosts`), HTTP (:mod:`transport`), passwords
(:mod:`credentials`) and what is done with them (:mod:`auth`), the protocol's requests (:mod:`client`), what a
manifest says (:mod:`manifests`), and then :mod:`pull`, :mod:`push` and :mod:`search`.
"""
