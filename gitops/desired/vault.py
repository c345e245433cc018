"""Ansible Vault: encrypted variables of an inventory on this machine.

The passwords are those that Ansible itself would use: ANSIBLE_VAULT_PASSWORD_FILE,
ANSIBLE_VAULT_IDENTITY_LIST, or the same settings of ansible.cfg. Nobody is asked for one. An
inventory of an application's repository gets none: its authors have no business with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gitops.errors import PermanentError

_PROMPTS = frozenset({"prompt", "prompt_ask_vault_pass"})
_HEADER = b"$ANSIBLE_VAULT;"
_SETTINGS = "ANSIBLE_VAULT_PASSWORD_FILE or ANSIBLE_VAULT_IDENTITY_LIST"


@contextmanager
def passwords(loader: Any, *, trusted: bool) -> Iterator[None]:
    """What the loader reads within is decrypted, also single values.

    Args:
        loader: Ansible's.
        trusted: whether the inventory gets passwords at all.

    Raises:
        PermanentError: a password file that cannot be read, or a password that has to be asked for.
    """
    from ansible.parsing.vault import VaultSecretsContext  # noqa: PLC0415 - importing Ansible takes half a second

    secrets = _secrets(loader) if trusted else []
    loader.set_vault_secrets(secrets)
    # Ansible knows one set of passwords a process, made once for all; here each inventory has its own.
    before = VaultSecretsContext._current  # noqa: SLF001 - as above
    VaultSecretsContext._current = VaultSecretsContext(secrets)  # noqa: SLF001 - as above
    try:
        yield
    finally:
        VaultSecretsContext._current = before  # noqa: SLF001 - as above


def plain(value: Any) -> Any:
    """A variable's value, decrypted where it is encrypted by itself (`!vault`).

    Raises:
        PermanentError: none of the passwords decrypts it.
    """
    from ansible.errors import AnsibleError  # noqa: PLC0415 - as above
    from ansible.parsing.vault import EncryptedString  # noqa: PLC0415 - as above

    if not isinstance(value, EncryptedString):
        return value
    try:
        return str(value)
    except AnsibleError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise PermanentError(f"an encrypted value: {reason}", hint=hint(error, trusted=True)) from error


def hint(error: Exception, *, trusted: bool) -> str:
    """What to do about an error of Ansible's where encryption is the reason; else an empty string."""
    if not _is_vaults(error):
        return ""
    if not trusted:
        return "one from a repo is not decrypted: keep it outside the repo and name it by its absolute path"
    return f"the controller's environment names the file of the password: {_SETTINGS}"


def encrypted_file(error: Exception, root: Path) -> Path | None:
    """The first encrypted file of an inventory, where that is the reason of the error, which names none."""
    files = sorted(root.rglob("*")) if root.is_dir() and _is_vaults(error) else []
    return next((file for file in files if file.is_file() and file.read_bytes().startswith(_HEADER)), None)


def _is_vaults(error: Exception) -> bool:
    from ansible.parsing.vault import AnsibleVaultError  # noqa: PLC0415 - as above

    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, AnsibleVaultError):
        seen = seen.__cause__ or seen.__context__
    return seen is not None


def _secrets(loader: Any) -> list[tuple[str, Any]]:
    """The passwords by vault ID, in the order in which Ansible tries them."""
    from ansible import constants  # noqa: PLC0415 - as above
    from ansible.errors import AnsibleError  # noqa: PLC0415 - as above
    from ansible.parsing.vault import get_file_vault_secret  # noqa: PLC0415 - as above

    named = [_split(slug) for slug in constants.DEFAULT_VAULT_IDENTITY_LIST or ()]
    if constants.DEFAULT_VAULT_PASSWORD_FILE:
        named.append(("", constants.DEFAULT_VAULT_PASSWORD_FILE))
    secrets: list[tuple[str, Any]] = []
    for name, file in named:
        if file in _PROMPTS:
            message = f"the vault password {name or 'default'} would have to be asked for"
            raise PermanentError(message, hint=f"name a file that holds it, or prints it: {_SETTINGS}")
        try:
            secret = get_file_vault_secret(filename=file, vault_id=name or None, loader=loader)
            secret.load()
        except AnsibleError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise PermanentError(f"a vault password cannot be read: {reason}", hint=_SETTINGS) from error
        secrets.append((name or constants.DEFAULT_VAULT_IDENTITY, secret))
        loader.set_vault_secrets(secrets)  # the file of the next one may be encrypted with this one
    return secrets


def _split(slug: str) -> tuple[str, str]:
    """`ID@FILE`, or a file alone."""
    name, at, file = slug.partition("@")
    return (name, file) if at else ("", slug)
