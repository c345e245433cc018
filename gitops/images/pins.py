"""Which image each reference of a commit means. Pure.

A pin is the reference with the digest that its tag had when the commit was first
deployed. It takes the reference's place in the container's spec, so that a new
digest is a new spec, and the same commit always means the same images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gitops.model.image import parse
from gitops.model.observed import Container, Observed
from gitops.model.stack import Stack


def loose(stack: Stack, pins: Mapping[str, str]) -> dict[str, str]:
    """The references that have no pin, each with the first service that uses it."""
    found: dict[str, str] = {}
    for service in stack.services:
        if service.container.image not in pins:
            found.setdefault(service.container.image, service.name)
    return found


def pinned(stack: Stack, pins: Mapping[str, str]) -> Stack:
    """The stack with each reference's pin in its place; every one has a pin."""
    services = (
        replace(service, container=replace(service.container, image=pins[service.container.image]))
        for service in stack.services
    )
    return replace(stack, services=tuple(services))


def given(stack: Stack) -> dict[str, str]:
    """The pins that the commit itself states: references with a digest."""
    images = (service.container.image for service in stack.services)
    return {image: image for image in images if "@" in image}


def running(stack: Stack, observed: Observed) -> dict[str, str]:
    """The pins that containers of this very commit run with: the truth, where the records were lost.

    A container is of this commit where its label says so, or the release file of its host: it
    may have been kept from an earlier one.
    """
    released = {
        host.name
        for host in observed.hosts
        for release in host.releases
        if (release.app, release.commit) == (stack.app, stack.commit)
    }
    containers = observed.containers(stack.app)
    own = [c for c in containers if c.commit == stack.commit]
    own += [c for c in containers if c.commit != stack.commit and c.host in released]
    found: dict[str, str] = {}
    for service in stack.services:
        reference = service.container.image
        for container in own:
            if container.service == service.name and (pin := _pin(reference, container)):
                found.setdefault(reference, pin)
    return found


def _pin(reference: str, container: Container) -> str:
    """What the reference means to a container, or nothing where it runs another image.

    Docker names a container's image as it was asked for, Podman without the tag. One
    from before digests were recorded was asked for by the reference alone: it is left alone.
    """
    if container.image == reference:
        return reference
    seen = parse(container.image)
    same = seen.digest and seen.name == parse(reference).name
    return f"{reference}@{seen.digest}" if same else ""
