"""Asks what a tag means now: the controller may not reach the registry, the hosts do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from gitops.channel import Channel, Engine
from gitops.channel.failures import EngineError
from gitops.errors import PermanentError, TransientError, Where
from gitops.model.image import parse
from gitops.tasks.login import Login

LoginFor = Callable[[Channel, str], Login | None]
"""Who we are to the registry of an image, when this host asks."""

MOST_ASKED = 2  # hosts that are asked before a registry counts as down: the first one's line may be
_SIDE_BY_SIDE = 8  # references
_REFUSED = (401, 403, 404)
_REFUSALS = (
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "denied",
    "manifest unknown",
    "not found",
    "name unknown",
    "repository name not known",
)
"""Words of the registry protocol for 'no such image' and 'not for you'.

Engines pass them on as text: Podman in the stream of a pull, which has no status, and
Docker with status 500. Whatever else goes wrong may pass by itself.
"""


class ImageError(PermanentError):
    """A registry has no such image, or does not give it to us."""


class RegistryError(TransientError):
    """A registry does not answer."""


def resolve(wanted: Mapping[str, str], channels: Sequence[Channel], login_for: LoginFor) -> dict[str, str]:
    """The pins of references.

    Args:
        wanted: references, each with the service that uses it, for errors.
        channels: of the container hosts that answer, those to ask first in front.
        login_for: who we are to a registry.

    Raises:
        ImageError: of the first reference that its registry does not give.
        RegistryError: of the first one whose registry does not answer.
    """
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        pins = pool.map(
            lambda reference: _pin(reference, wanted[reference], channels, login_for), sorted(wanted)
        )
        return dict(zip(sorted(wanted), pins, strict=True))


def _pin(reference: str, service: str, channels: Sequence[Channel], login_for: LoginFor) -> str:
    problem: ImageError | RegistryError | None = None
    for channel in channels[:MOST_ASKED]:
        try:
            return f"{reference}@{_digest(channel.engine(), reference, login_for(channel, reference))}"
        except EngineError as error:
            problem = _told(reference, service, error.status, error.message, channel.name)
        except TransientError as error:
            message = f"service {service}: {reference}: {error.message}"
            problem = RegistryError(message, hint=error.hint, where=Where(host=channel.name))
        if isinstance(problem, ImageError):
            break
    held = _held(reference, channels)
    if held or problem is None:
        return held or reference
    raise problem


def _digest(engine: Engine, reference: str, login: Login | None) -> str:
    """The digest of the tag in its registry; of an image for several machines that of its index."""
    auth = login.header(parse(reference).registry) if login else None
    if not engine.podman:
        return str(engine.distribution(reference, auth=auth)["Descriptor"]["digest"])
    # Podman has no such question: it pulls the image, and says what it got.
    engine.pull(reference, auth=auth)
    details = engine.image_details(reference)
    own, known = str(details["Digest"]), _digests(reference, details)
    # Of an image's own digest and those of its indexes Podman gives the one that it was pulled by first.
    variants = engine.variants(reference) if len(known) > 1 else frozenset()
    return own if own not in variants else min(known - variants, default=own)


def _digests(reference: str, details: Mapping[str, object]) -> set[str]:
    """The digests under which an engine knows an image of the reference's repository."""
    names = details.get("RepoDigests")
    known = [parse(str(name)) for name in names] if isinstance(names, list) else []
    return {each.digest for each in known if each.name == parse(reference).name}


def _held(reference: str, channels: Iterable[Channel]) -> str:
    """The pin of an image that every host has already under that very reference, or nothing.

    An image that was loaded onto the hosts has no digest in any registry: it stays as it is named.
    """
    images = [channel.engine().image(reference) or {} for channel in channels]
    digests = set.intersection(*(_digests(reference, image) for image in images)) if images else set()
    if digests:
        return f"{reference}@{min(digests)}"
    loaded = all(image and not image.get("RepoDigests") for image in images)
    return reference if loaded and len({image["Id"] for image in images}) == 1 else ""


def _told(reference: str, service: str, status: int, words: str, host: str) -> ImageError | RegistryError:
    where = Where(host=host)
    registry = parse(reference).registry
    message = f"service {service}: {reference}: {words}"
    if status in _REFUSED or any(refusal in words.lower() for refusal in _REFUSALS):
        hint = f"push the image, or give gitops.yaml a login to {registry}: `registries`"
        return ImageError(message, hint=hint, where=where)
    return RegistryError(message, hint=f"does {registry} run, and can {host} reach it?", where=where)
