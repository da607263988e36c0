"""`xds-server token`: a new token for the admin address, and the line that lets it in."""

from __future__ import annotations

import click

from xds_server.operator.tokens import MOST_NAME, Role, line_of, new_token


@click.command(short_help="Make a token for the admin address.")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What NAME may do.")
def token(*, name: str, role: str) -> None:
    """Make a token for NAME, a person or a program, and print it once: it is kept nowhere.

    The line printed after it goes into the file that `serve --admin-tokens` names; from the line nobody can tell the
    token. Roles: view reads, report sends agents' reports, operate does all.
    """
    if len(name) > MOST_NAME or not name.isprintable() or "#" in name or len(name.split()) != 1 or name == "*":
        raise click.UsageError(f"NAME is one printable word without #, at most {MOST_NAME} characters long")
    made = new_token()
    click.echo(f"{made}\n{line_of(name, Role(role), made)}")
