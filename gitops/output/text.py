"""The results as text: columns like docker's and kubectl's, that grep and awk can read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from gitops.model.image import short

View = dict[str, Any]

SHORT = 12  # characters of a SHA in a column; JSON has all 40
GAP = "  "
MINUTE_S = 60


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns with a header; cells never wrap. Without rows there is nothing."""
    table = [[str(cell) for cell in row] for row in rows]
    if not table:
        return ""
    table.insert(0, list(header))
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = (GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def seconds(value: float) -> str:
    """A duration for people: `0.4s`, `12.3s`, `3m05s`."""
    if value < MINUTE_S:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), MINUTE_S)
    return f"{minutes}m{rest:02d}s"


def status_text(view: View) -> str:
    """`gitops status`: one application."""
    facts = [f"{view['app']}{GAP}{view['sync']}{GAP}{view['health']}"]
    facts.append(f"  commit       {view['commit'] or 'none yet'}")
    if view["target_commit"] != view["commit"]:
        facts.append(f"  target       {view['target_commit'] or 'not known'}")
    held_back = [f"{each['commit']}: {each['reason']}" for each in view["quarantine"]]
    facts += [f"  quarantined  {_indented(told, 15)}" for told in held_back]
    facts += [f"  waits        {view['waits']}"] if view.get("waits") else []
    if retry := view.get("retry"):
        told = (
            f"{retry['commit']} at {retry['next_at']}, after {retry['attempts']} attempts: {retry['reason']}"
        )
        facts.append(f"  retry        {_indented(told, 15)}")
    facts += [f"  settings     {change} (not deployed)" for change in view.get("settings_changed", ())]
    facts += [
        f"  crashing     {each['what']} on {each['host']}: restarted {each['restarts']} times by its engine"
        for each in view.get("crashing", ())
    ]
    if view["message"]:
        facts.append(f"  message      {_indented(view['message'], 15)}")
    services = columns(
        ("SERVICE", "DESIRED", "RUNNING", "HEALTHY", "IMAGE"),
        (
            (
                s["name"],
                "job" if s["job"] else s["desired"],
                s["running"],
                f"{s['finished']} finished" if s["job"] else s["healthy"],
                _image(s),
            )
            for s in view["services"]
        ),
    )
    replicas = columns(
        ("REPLICA", "HOST", "STATE", "PORT", "COMMIT", "CONTAINER"),
        (
            (
                f"{service['name']}.{replica['slot']}",
                replica["host"],
                replica["state"],
                replica["port"] or "-",
                replica["commit"][:SHORT],
                replica["container"],
            )
            for service in view["services"]
            for replica in service["replicas"]
        ),
    )
    hosts = columns(("HOST", "STATE", "ERROR"), ((h["name"], h["state"], h["error"]) for h in view["hosts"]))
    drift = columns(
        ("DRIFT", "HOST", "REASON"),
        ((d["what"] or "-", d["host"] or "-", d["reason"]) for d in view["drift"]),
    )
    strange = "\n".join(f"note: {each['text']}" for each in view.get("not_in_config", ()))
    blocks = ("\n".join(facts), drift, services, _autoscale(view), replicas, hosts, strange)
    return "\n\n".join(block for block in blocks if block) + "\n"


def statuses_text(view: View) -> str:
    """`gitops status` of all applications; what gitops.yaml does not name is said once, at the end."""
    strange = "".join(f"note: {each['text']}\n" for each in view["not_in_config"])
    texts = [status_text({**each, "not_in_config": []}) for each in view["apps"]]
    return "\n".join([*texts, *([strange] if strange else [])])


def _autoscale(view: View) -> str:
    """The services whose count follows their load: a line a target."""
    return columns(
        ("AUTOSCALE", "COUNT", "MIN", "MAX", "METRIC", "READING", "TARGET", "READ AT (UTC)"),
        (
            (
                service["name"],
                scale["count"],
                scale["min"],
                scale["max"],
                target["metric"],
                "-" if target["reading"] is None else f"{target['reading']:.1f}",
                f"{target['target']:g}",
                scale["read_at"][11:19] or "-",
            )
            for service in view["services"]
            if (scale := service["autoscale"])
            for target in scale["targets"]
        ),
    )


def history_text(view: View) -> str:
    """`gitops history`: a line a deployment; below it what it repaired, and why it did not succeed."""
    if not view["deployments"]:
        return f"{view['app']} has no deployment yet"
    rows = [
        (
            deployment["started_at"][:19].replace("T", " "),
            deployment["outcome"],
            deployment["commit"][:SHORT],
            deployment["previous_commit"][:SHORT] or "-",
            seconds(deployment["duration_s"]),
            deployment["trigger"],
            _changes(deployment["changes"]),
        )
        for deployment in view["deployments"]
    ]
    header = ("STARTED (UTC)", "OUTCOME", "COMMIT", "FROM", "TOOK", "TRIGGER", "CONTAINERS")
    head, *lines = columns(header, rows).splitlines()
    text = [head]
    for line, deployment in zip(lines, view["deployments"], strict=True):
        text.append(line)
        text += [f"    {change['text']}" for change in deployment["scaled"]]
        verb = "repaired" if deployment["outcome"] == "succeeded" else "to be repaired"
        told = (f"    {verb} {each['host']}: {each['reason']}" for each in deployment["drift"])
        text += [f"{line} (x{count})" if count > 1 else line for line, count in Counter(told).items()]
        if deployment["reason"]:
            text.append("    " + _indented(deployment["reason"], 4))
    return "\n".join(text)


def plan_text(view: View) -> str:
    """`gitops plan`: the steps in order, what is kept, and how haproxy.cfg changes."""
    way = f"{view['from_commit'][:SHORT] or 'nothing'} -> {view['commit'][:SHORT]}"
    held = f"held: {view['held']}" if view["held"] else ""
    notes = "\n".join(part for part in (held, view["notes"]) if part)
    if not view["changes"]:
        return "\n".join(part for part in (f"{view['app']}: {way}: nothing to do", notes) if part)
    steps = columns(
        ("BATCH", "ACTION", "REPLICA", "HOST", "REASON"),
        (
            (
                step["batch"] or "-",
                step["action"],
                f"{step['service']}.{step['slot']}" if step["slot"] else step["service"] or "-",
                step["host"] or "-",
                step["reason"],
            )
            for step in view["steps"]
        ),
    )
    count = f"{view['changes']} change{'s' if view['changes'] > 1 else ''}"
    return "\n\n".join(
        block for block in (f"{view['app']}: {way}: {count}", notes, steps, view["haproxy_diff"]) if block
    )


def result_text(view: View) -> str:
    """`gitops sync` and `gitops rollback`: how it ended, in one sentence, and why."""
    commit, deployment = view["commit"][:SHORT], view["deployment"]
    reason = f"\n{view['message']}" if view["message"] else ""
    if view["outcome"] == "nothing":
        return f"nothing to do: {commit} is what runs{reason}"
    if view["outcome"] == "held":
        return f"held: {view['message']}"
    took = f" in {seconds(deployment['duration_s'])}" if deployment else ""
    if view["outcome"] == "succeeded":
        changes = f" ({_changes(deployment['changes'])})" if deployment else ""
        return f"succeeded: {commit}{took}{changes}{reason}"
    if view["outcome"] == "rolled-back":
        back = deployment["previous_commit"][:SHORT] if deployment else ""
        return f"rolled-back: {commit} failed, back on {back or 'nothing: it was the first'}{took}{reason}"
    return f"{view['outcome']}: {commit}{took}{reason}"


def _verdict(check: View) -> str:
    if not check["ok"]:
        return "FAIL"
    return "warn" if check.get("warning") else "ok"


def doctor_text(view: View) -> str:
    """`gitops doctor`: every check, and below one that fails or warns the command that mends it."""
    checks = view["checks"]
    table = columns(
        ("HOST", "", "CHECK", "FOUND"),
        ((c["host"] or "controller", _verdict(c), c["check"], _first(c["message"])) for c in checks),
    )
    head, *lines = table.splitlines()
    text = [head]
    for line, check in zip(lines, checks, strict=True):
        text.append(line)
        if check["fix"]:
            text.append(f"    on {check['fix_on']}: {_indented(check['fix'], 8)}")
    bad = sum(not check["ok"] for check in checks)
    warnings = sum(check.get("warning", False) for check in checks)
    warned = f", {warnings} with a warning" if warnings else ""
    said = f"{bad} of {len(checks)} checks failed" if bad else f"all {len(checks)} checks ok"
    return "\n".join([*text, "", said + warned])


def _image(service: View) -> str:
    return short("@".join(part for part in (service["image"], service["digest"]) if part))


def maintenance_text(view: View) -> str:
    """`gitops drain`, `undrain` and `maintain`."""
    if "hosts" in view:
        return "\n".join(f"{each['host']}: {each['state']}: {each['message']}" for each in view["hosts"])
    lines = [f"{view['host']}: {'drained' if view['drained'] else 'in service'}"]
    lines += [f"  {each['app']}: {each['outcome']}{_because(each)}" for each in view["apps"]]
    lines += [
        f"  left there: {each['app']} {each['service']}.{each['slot']}: {each['reason']}"
        for each in view["left"]
    ]
    return "\n".join(lines)


def removal_text(view: View) -> str:
    """`gitops remove`: a line a host, before as after."""
    removed, volumes = view["removed"], view["volumes_removed"]
    lines = []
    for host in view["hosts"]:
        parts = [*host["containers"], *(f"network {name}" for name in host["networks"])]
        parts += ["routes"] if host["routes"] else []
        parts += ["files"] if host["files"] else []
        if volumes:
            parts += [f"volume {name}" for name in host["volumes"]]
        stays = "" if volumes else ", ".join(f"volume {name}" for name in host["volumes"])
        said = ", ".join(parts) or "nothing"
        said += f"; stays: {stays} (--volumes removes it)" if stays else ""
        lines.append(f"  {host['name']}: {'NOT REMOVED: ' + host['error'] if host['error'] else said}")
    head = f"{view['app']}: removed" if removed else f"{view['app']}: to be removed"
    if not removed and any(host["error"] for host in view["hosts"]):
        head = f"{view['app']}: not removed from every host"
    text = [head, *lines]
    if view["in_config"]:
        text.append(
            f"{view['app']} is still in gitops.yaml, and paused: take it out"
            f" (or deploy it anew: gitops resume {view['app']})"
        )
    return "\n".join(text)


def _because(result: View) -> str:
    return f": {_indented(result['message'], 4)}" if result["message"] else ""


def unlock_text(view: View) -> str:
    """`gitops unlock`: a line a host."""
    return "\n".join(f"{lock['host']}: {_lock(lock)}" for lock in view["locks"])


def _lock(lock: View) -> str:
    owner = lock["owner"]
    if lock["state"] in {"free", "unknown"}:
        return str(lock["error"] or "free")
    name = "somebody who has not signed"
    if owner:
        name = f"{owner['name']} (process {owner['process']} on {owner['controller']}) since {owner['since']}"
    return f"held by {name}" if lock["state"] == "held" else f"free: ended {name}"


def _changes(changes: View) -> str:
    """`+4 -4 =2`: started, stopped, kept."""
    return f"+{changes['started']} -{changes['stopped']} ={changes['kept']}"


def _first(text: str) -> str:
    return text.partition("\n")[0]


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)
