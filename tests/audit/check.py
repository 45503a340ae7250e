"""The checks. Each kind of damage has a name, and a finding says which, where, and what was seen."""

import enum
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.audit.png import BrokenPngError, Png, read_png
from tests.audit.records import Entry, Journal, NoJournalError, read_journal, read_submitted

SEEDS = 2**32
PULLED_BESIDE_IMAGES = {"manifest.jsonl", "contact-sheet.png"}
FIELDS = (
    "prompt",
    "negative_prompt",
    "seed",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "sampler",
    "strength",
)


class Damage(enum.Enum):
    """What can be wrong with a batch that has ended."""

    JOURNAL = "the journal cannot be read, or the job has not ended"
    ENTRY = "the journal's entries are not what was submitted"
    LOST = "an image is neither committed nor failed for a reason"
    TWICE = "an image is settled twice, or there is more than one file of it"
    COUNT = "the job's counts are not those of its images"
    FENCE = "an image is committed under an attempt number that was never given"
    MISSING = "the file of a committed image is not there"
    BYTES = "a file's bytes are not those that were committed"
    PNG = "a committed file is no whole PNG"
    SPEC = "a file says that it shows something else than was asked for"
    PROVENANCE = "a file and the journal say different things of how it was made"
    PARAMETERS = "the text for other tools says something else than was asked for"
    MANIFEST = "the manifest says something else than the journal, or is not there"
    ORPHAN = "a file belongs to no committed image"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    damage: Damage
    where: str
    seen: str

    def __str__(self) -> str:
        return f"{self.damage.name} {self.where}: {self.seen} ({self.damage.value})"


def audit(journal: Path, job_id: str, submitted: Path, output: Path, store: Path | None = None) -> list[Finding]:
    """Checks a batch; nothing is found in one that is right.

    Args:
        journal: The journal's file.
        job_id: The job.
        submitted: The batch file as it was submitted.
        output: Folder that the images were pulled to.
        store: The job's folder on the coordinator, with a file an attempt; not looked at if None.
    """
    try:
        record = read_journal(journal, job_id)
    except NoJournalError as error:
        return [Finding(Damage.JOURNAL, str(journal), str(error))]
    entries = read_submitted(submitted)
    committed = {index: body for index, state, body in record.results if state == "SUCCEEDED"}
    return [
        *_journal_findings(record, entries),
        *_folder_findings(output, committed, lambda i, _: f"{i:06d}.png", PULLED_BESIDE_IMAGES),
        *_image_findings(output, record, entries, committed),
        *_manifest_findings(output / "manifest.jsonl", record, entries),
        *(_folder_findings(store, committed, _stored_name, set()) if store else ()),
    ]


def _stored_name(index: int, result: Mapping[str, Any]) -> str:
    return f"{index // 1000:05d}/{index:08d}-{result['number']}.png"


def _journal_findings(record: Journal, entries: list[Entry]) -> Iterator[Finding]:
    job, indices = record.job, range(len(entries))
    where = f"job {job['job_id']}"
    if job["state"] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
        yield Finding(Damage.JOURNAL, where, f"its state is {job['state']}")
    if job["image_count"] != len(entries):
        yield Finding(Damage.COUNT, where, f"it has {job['image_count']} images, and {len(entries)} were submitted")
    for index in indices:
        if (kept := _open(record.entries.get(index, {}))) != _open(entries[index]):
            yield Finding(Damage.ENTRY, f"image {index}", f"{kept} was {dict(entries[index])}")
    settled = Counter(index for index, _, _ in record.results)
    yield from (Finding(Damage.TWICE, f"image {index}", f"{n} results") for index, n in settled.items() if n > 1)
    yield from (Finding(Damage.LOST, f"image {index}", "no result") for index in indices if index not in settled)
    yield from (Finding(Damage.ORPHAN, f"image {index}", "no entry") for index in settled if index not in indices)
    states = Counter(state for _, state, _ in record.results)
    for state, count in (("SUCCEEDED", job["succeeded_count"]), ("FAILED", job["failed_count"])):
        if states[state] != count:
            yield Finding(Damage.COUNT, where, f"{states[state]} images {state}, and {count} by its row")
    for index, state, body in record.results:
        if state == "FAILED" and not (body.get("reason") and body.get("message")):
            yield Finding(Damage.LOST, f"image {index}", "it failed without a reason")
        if not 0 < body["number"] < job["next_attempt_number"]:
            yield Finding(Damage.FENCE, f"image {index}", f"attempt {body['number']}")


def _open(entry: Entry) -> dict[str, Any]:
    return {field: entry[field] for field in FIELDS if field in entry}


def _folder_findings(
    folder: Path,
    committed: Mapping[int, Mapping[str, Any]],
    name: Callable[[int, Mapping[str, Any]], str],
    beside: set[str],
) -> Iterator[Finding]:
    """Every committed image has its file, with its bytes, and there is no other."""
    named = {name(index, result): (index, result) for index, result in committed.items()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    for file in sorted(there - named.keys() - beside):
        numbered = re.fullmatch(r"(?:\d{5}/)?(\d+)(?:-\d+)?\.png", file)
        damage = Damage.TWICE if numbered and int(numbered[1]) in committed else Damage.ORPHAN
        yield Finding(damage, f"file {file}", "no commit names it")
    for file, (index, result) in sorted(named.items()):
        if file not in there:
            yield Finding(Damage.MISSING, f"image {index}", file)
            continue
        content = (folder / file).read_bytes()
        if (len(content), hashlib.sha256(content).hexdigest()) != (result["size_bytes"], result["sha256"]):
            yield Finding(Damage.BYTES, f"image {index}", f"{file} has {len(content)} bytes of another hash")


def _image_findings(
    output: Path, record: Journal, entries: list[Entry], committed: Mapping[int, Mapping[str, Any]]
) -> Iterator[Finding]:
    for index, result in sorted(committed.items()):
        path = output / f"{index:06d}.png"
        if index >= len(entries) or not path.exists():
            continue
        where = f"image {index}"
        try:
            png = read_png(path.read_bytes())
            said = json.loads(png.texts.get("farm", "{}"))
        except (BrokenPngError, ValueError) as error:
            yield Finding(Damage.PNG, where, str(error))
            continue
        wanted = expected(record, entries[index], index)
        yield from _differences(Damage.SPEC, where, said.get("spec", {}), wanted)
        if (png.width, png.height) != (wanted["width"], wanted["height"]):
            yield Finding(Damage.SPEC, where, f"it is {png.width}x{png.height} pixels")
        if said.get("provenance", {}).get("model") != record.spec["model"]:
            yield Finding(Damage.PROVENANCE, where, f"its model is not {record.spec['model']}")
        yield from _differences(Damage.PROVENANCE, where, said.get("provenance", {}), result["provenance"])
        yield from _parameters_findings(where, png, wanted, result["provenance"])


def expected(record: Journal, entry: Entry, index: int) -> dict[str, Any]:
    """What an image had to be: its entry, and where that leaves something open what was submitted for all."""
    defaults = {field: value for field, value in record.spec["defaults"].items() if value is not None}
    whole = {field: entry.get(field, defaults.get(field)) for field in FIELDS}
    whole["seed"] = entry.get("seed", (defaults.get("seed", 0) + index) % SEEDS)
    whole["negative_prompt"] = whole["negative_prompt"] or ""
    return whole


def _differences(damage: Damage, where: str, said: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Finding]:
    for field in sorted(said.keys() | wanted.keys()):
        if said.get(field) != wanted.get(field):
            yield Finding(damage, where, f"{field} is {said.get(field)!r}, not {wanted.get(field)!r}")


def _parameters_findings(
    where: str, png: Png, wanted: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Iterator[Finding]:
    text = png.texts.get("parameters", "")
    head, _, settings = text.rpartition("\n")
    negative = f"\nNegative prompt: {wanted['negative_prompt']}" if wanted["negative_prompt"] else ""
    if head != wanted["prompt"] + negative:
        yield Finding(Damage.PARAMETERS, where, f"its prompts are {head!r}")
    said = dict(pair.split(": ", 1) for pair in settings.split(", ") if ": " in pair)
    due = {
        "Steps": str(wanted["steps"]),
        "CFG scale": f"{wanted['guidance_scale']:g}",
        "Seed": str(wanted["seed"]),
        "Size": f"{wanted['width']}x{wanted['height']}",
        "Model hash": provenance["model_digest"].removeprefix("sha256:")[:10],
        "Model": provenance["model"],
    }
    for name, value in due.items():
        if said.get(name) != value:
            yield Finding(Damage.PARAMETERS, where, f"{name} is {said.get(name)!r}, not {value!r}")


def _manifest_findings(path: Path, record: Journal, entries: list[Entry]) -> Iterator[Finding]:
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        yield Finding(Damage.MANIFEST, path.name, str(error))
        return
    if [line.get("index") for line in lines] != list(range(len(entries))):
        yield Finding(Damage.MANIFEST, path.name, f"its {len(lines)} lines are not one for each image, in order")
        return
    results = {index: (state, body) for index, state, body in record.results}
    for index, line in enumerate(lines):
        state, body = results.get(index, ("", {}))
        is_there = state == "SUCCEEDED"
        due = {
            "file": f"{index:06d}.png" if is_there else None,
            "prompt": expected(record, entries[index], index)["prompt"],
            "sha256": body.get("sha256") if is_there else None,
            "attempt_number": body.get("number") if is_there else None,
        }
        for field, value in due.items():
            if (line.get(field) or None) != value:
                yield Finding(Damage.MANIFEST, f"image {index}", f"{field} is {line.get(field)!r}, not {value!r}")
