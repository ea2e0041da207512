"""The address of the database that the machines of a search share. Imports little, for Snakemake parses with it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from ablations.errors import UserError

ADDRESS = "ABLATIONS_STORAGE"  # in the environment; may hold a password, and is never shown
SECRETS = ("password", "passwd", "sslpassword")  # among the options of an address


def without_password(address: str, where: str) -> str:
    """The address that a configuration gives. UserError, which does not show it, where it has a password: what is
    configured is written down, and seen in the list of processes."""
    try:
        parts = urlsplit(address)
        has_one = parts.password is not None or not set(SECRETS).isdisjoint(parse_qs(parts.query))
    except ValueError:
        has_one = True  # for all one can tell
    if has_one:
        raise UserError(
            f"{where}: the address has a password in it, which would be written down; leave it out, and give it in the "
            f"environment, as PGPASSWORD, or in the whole address as {ADDRESS}"
        )
    return address
