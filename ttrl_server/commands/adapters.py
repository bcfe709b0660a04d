"""``ttrl-adapters``: lists, changes and exports versions, in a running gateway or a folder."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ttrl_server.errors import TtrlError
from ttrl_server.registry import catalogue, export, folders, preflight, rules
from ttrl_server.registry.ledger import Ledger
from ttrl_server.registry.names import number_in
from ttrl_server.registry.past import Past


def main() -> None:
    """Console script."""
    options = _parser().parse_args()
    try:
        if options.command in ("export", "merge", "push"):
            result = _take_away(options)
        elif options.base_url:
            result = _over_http(options)
        else:
            result = _on_folder(options)
        _print(options, result)
    except TtrlError as error:
        sys.exit(f"ttrl-adapters: {error}")
    except OSError as error:
        sys.exit(f"ttrl-adapters: {error.strerror}: {error.filename}")


# ---------------------------------------------------------------- a running gateway


def _over_http(o: argparse.Namespace) -> dict[str, Any]:
    match o.command:
        case "ls":
            return _call(o, "/adapters")
        case "show":
            return _call(o, f"/adapters/{_number(o.version)}")
        case "resume":
            return _call(o, "/learning/resume", {})
        case "rollback":
            to = None if o.version is None else _number(o.version)
            return _call(o, "/adapters/rollback", {"to": to, "reason": o.reason})
    taken = {"promote": ("reason", "force"), "retire": ("reason",)}.get(o.command, ())
    body = {name: getattr(o, name) for name in taken}
    return _call(o, f"/adapters/{_number(o.version)}/{o.command}", body)


def _call(o: argparse.Namespace, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The gateway's answer: GET without a body, else POST."""
    import httpx

    url = o.base_url.rstrip("/").removesuffix("/v1") + "/ttrl/v1" + path
    headers = {"authorization": f"Bearer {o.admin_key}"} if o.admin_key else {}
    method = "GET" if body is None else "POST"
    try:
        reply = httpx.request(method, url, json=body, headers=headers, timeout=600)
        data: dict[str, Any] = reply.json()
    except (httpx.HTTPError, ValueError) as error:
        what = type(error).__name__
        raise TtrlError(f"{url} did not answer like a ttrl-server ({what})") from error
    if reply.status_code == 401:
        where = "--admin-key, or TTRL_ADMIN_KEY in the environment"
        raise TtrlError(f"the gateway needs its admin key: {where}")
    if reply.status_code >= 400:
        raise TtrlError(data["error"]["message"])
    return data


# ---------------------------------------------------------------- the folder alone


def _on_folder(options: argparse.Namespace) -> dict[str, Any]:
    if options.command in ("ls", "show"):
        past = Past.read(options.dir)
        base = _base(past, options)
        if options.command == "ls":
            return {"base_model": base, "versions": catalogue.rows(past, base)}
        number = _number(options.version)
        return catalogue.about(past, base, number, rules.folder_of(past, base, number))
    # Ledger raises ConfigError while a gateway owns the folder.
    with contextlib.closing(Ledger(options.dir)) as ledger:
        return _act(options, ledger, _base(ledger, options))


def _act(options: argparse.Namespace, ledger: Ledger, base: str) -> dict[str, Any]:
    """Acts on the ledger. The next start of the gateway proves the version, then serves it."""
    if options.command == "resume":
        ledger.resume(base)
        return {"learning": "goes on at the next start"}
    if options.command == "rollback":
        number = ledger.last_good(base) if options.version is None else _number(options.version)
        ledger.roll_back(number, base, options.reason, by="operator")
        return {"number": number, "served": "at the next start"}
    number = _number(options.version)
    match options.command:
        case "promote" if rules.may_serve(ledger, base, number, force=options.force) == "again":
            ledger.roll_back(number, base, options.reason, by="operator")
        case "promote":
            folder = rules.folder_of(ledger, base, number)
            version = folders.read(options.dir, folder)
            preflight.check(options.dir, version, base_model=base, max_rank=version.rank)
            ledger.overrule(number, folder, base, options.reason)
        case "pin":
            ledger.pin(number, rules.may_pin(ledger, base, number), base)
        case "unpin":
            rules.may_unpin(ledger, base, number)
            ledger.unpin(number, base)
        case "retire":
            folder = rules.may_retire(ledger, base, number)
            ledger.retire(number, folder, base, options.reason, by="operator")
            return {"number": number, "state": "retired"}
    return next(row for row in catalogue.rows(ledger, base) if row["number"] == number)


# ---------------------------------------------------------------- export, merge, push


def _take_away(options: argparse.Namespace) -> dict[str, Any]:
    past = Past.read(options.dir)
    base, number = _base(past, options), _number(options.version)
    folder = rules.folder_of(past, base, number)
    if options.command == "export":
        return {"exported": str(export.adapter(options.dir, folder, options.to, base_model=base))}
    with tempfile.TemporaryDirectory() as temporary:
        taken = export.adapter(options.dir, folder, Path(temporary) / folder, base_model=base)
        if options.command == "push":
            note = f"version {number}"
            repository = export.push(taken, options.to, private=options.private, note=note)
            return {"pushed": repository}
        from ttrl_server.training.merge import merge

        model, _, revision = (base, "", "") if Path(base).exists() else base.partition("@")
        if options.model:
            model, revision = options.model, ""
        merged = merge(taken, options.to, model=model, revision=revision or None)
        return {"merged": str(merged)}


def _base(past: Past, options: argparse.Namespace) -> str:
    known, wanted = past.bases(), options.base_model
    if wanted and wanted not in known:
        found = ", ".join(known) or "nothing"
        raise TtrlError(f"there are no versions of {wanted!r} here; there are versions of: {found}")
    if not known:
        raise TtrlError(f"{options.dir} holds no version yet")
    return str(wanted or known[-1])


def _number(text: str) -> int:
    number = number_in(text)
    if number is None:
        raise TtrlError(f"{text!r} is not a version: say 7, v7, or base")
    return number


# ---------------------------------------------------------------- output and arguments


def _print(options: argparse.Namespace, result: dict[str, Any]) -> None:
    if options.json or options.command != "ls":
        print(json.dumps(result, indent=None if options.json else 2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("version", "state", "served", "pinned", "when", "why", box=None, pad_edge=False)
    for row in result["versions"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["time"]))
        marks = ["*" if row[name] else "" for name in ("served", "pinned")]
        table.add_row(f"v{row['number']}", row["state"], *marks, when, row["reason"] or "")
    Console(highlight=False).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ttrl-adapters", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    about = "the adapters folder (default: adapters)"
    shared.add_argument("--dir", type=Path, default=Path("adapters"), help=about)
    url, key = os.environ.get("TTRL_BASE_URL"), os.environ.get("TTRL_ADMIN_KEY")
    shared.add_argument("--base-url", default=url, help="URL of a running gateway to act on")
    shared.add_argument("--admin-key", default=key, help="the gateway's api.admin_key")
    about = "the lineage, if the folder has several (default: the newest)"
    shared.add_argument("--base-model", help=about)
    shared.add_argument("--json", action="store_true", help="one line of JSON")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, version: str | None = "") -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[shared], help=about, description=about)
        if version is not None:
            nargs = version or None
            made.add_argument("version", nargs=nargs, help="7, v7, or base", metavar="VERSION")
        return made

    command("ls", "list all versions, newest first", None)
    command("show", "show a version's manifest, the gate's figures and its events")
    promote = command("promote", "serve a version from now on")
    about = "even if it was refused for its answers"
    promote.add_argument("--force", action="store_true", help=about)
    about = "serve an earlier version, by default the last good one; base is the base model"
    rollback = command("rollback", about, "?")
    command("pin", "keep a version in the engine, so that clients can always ask for NAME@v7")
    command("unpin", "remove the pin of a version")
    retire = command("retire", "never serve a version again; its folder is removed later")
    for acting in (promote, rollback, retire):
        acting.add_argument("--reason", default="asked for", help="noted in the ledger")
    command("resume", "resume learning after an alarm ended it", None)
    exported = command("export", "write a folder that PEFT and vLLM can load")
    merge = command("merge", "write a full model with the adapter merged into it")
    for writing in (exported, merge):
        writing.add_argument("to", type=Path, metavar="FOLDER")
    merge.add_argument("--model", help="the base model's new path, if it moved")
    push = command("push", "upload the exported folder to a hub repository")
    push.add_argument("to", metavar="REPOSITORY", help="owner/name")
    push.add_argument("--private", action="store_true")
    return parser


if __name__ == "__main__":
    main()
