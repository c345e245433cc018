"""Removes images that no rollback needs any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from gitops.channel import Channel
from gitops.channel.failures import NotFoundError
from gitops.errors import GitopsError
from gitops.model.image import parse
from gitops.store.records import Store

log = logging.getLogger(__name__)

Name = tuple[str, str]  # an image: registry and repository, digest
Commit = tuple[str, str]  # application, SHA

_SIDE_BY_SIDE = 64  # hosts


def prune(app: str, store: Store, channels: Iterable[Channel], retention: int) -> None:
    """Removes the application's images from the hosts, but for those that its last good commits need.

    Only what was recorded for this application is removed, never what a container uses or
    another application may go back to. What goes wrong is logged: an image too many is no failure.
    """
    try:
        outdated = _outdated(app, store.pins.every(), _needed(store, retention))
    except GitopsError as error:
        log.warning("%s: old images stay: %s", app, error)
        return
    targets = list(channels) if outdated else []
    with ThreadPoolExecutor(max(1, min(len(targets), _SIDE_BY_SIDE))) as pool:
        list(pool.map(partial(_prune, app, outdated), targets))


def _needed(store: Store, retention: int) -> set[Commit]:
    """The last good commits of every application, and those that are being deployed at this moment."""
    needed = {
        (deployment.app, commit)
        for deployment, _, _ in store.running()
        for commit in (deployment.commit, deployment.previous_commit)
    }
    apps = {name for name, _ in store.pins.every()}
    return needed | {(name, commit) for name in apps for commit in store.goods(name)[:retention]}


def _outdated(app: str, pins: Mapping[Commit, set[str]], needed: set[Commit]) -> set[Name]:
    """The images of an application that no needed commit of any application names. Pure."""
    kept = {_name(pin) for commit, each in pins.items() if commit in needed for pin in each}
    own = {_name(pin) for (name, _), each in pins.items() if name == app for pin in each}
    return {name for name in own - kept if name[1]}


def _prune(app: str, outdated: set[Name], channel: Channel) -> None:
    try:
        engine = channel.engine()
        used = {container.get("ImageID") for container in engine.containers()}
        names = [
            name
            for image in engine.images()
            if image["Id"] not in used
            for name in outdated_names(image, outdated)
        ]
    except GitopsError as error:
        log.warning("%s: old images stay: %s", app, error)
        return
    for name in names:
        try:
            with suppress(NotFoundError):  # Docker takes the digests with the last tag
                engine.remove_image(name)
        except GitopsError as error:
            log.warning("%s: an old image stays: %s", app, error)


def outdated_names(image: Mapping[str, Any], outdated: set[Name]) -> list[str]:
    """The names to take from an engine's image; it goes with the last, and any other name keeps it. Pure.

    Name by name, as no engine removes an image with several names by its id unless forced.
    """
    digests = {digest: _name(digest) for digest in image.get("RepoDigests") or []}
    repositories = {repository for repository, _ in digests.values()}
    repositories -= {name[0] for name in digests.values() if name not in outdated}
    tags = [tag for tag in image.get("RepoTags") or [] if "@" not in tag and "<none>" not in tag]
    ours = [tag for tag in tags if parse(tag).name in repositories]
    return ours + [digest for digest, name in digests.items() if name in outdated]


def _name(text: str) -> Name:
    reference = parse(text)
    return reference.name, reference.digest
