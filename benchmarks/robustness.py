"""Run the tests that attack the library, count what was tried and what held, and write the page about robustness.

    python benchmarks/robustness.py              # everything, and write nbs/robustness.ipynb
    python benchmarks/robustness.py --quick      # only what is fast and needs no browser; print, and write nothing
    python benchmarks/robustness.py --only kills mutations

A test with parameters counts each of them as one case. A test that tries several things by itself records their number
(`record_property("tried", number)`), and Hypothesis reports how many examples it tried. If a test fails, none of the cases
that it counts has held. A test that is skipped was not tried, and is listed with its reason. Run it as root to include
the power cut and the second user, with Chromium on PATH to include the browser.
"""

import argparse
import base64
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from pages import ROOT, machine, table, write_page

PAGE = ROOT / "nbs" / "robustness.ipynb"


@dataclass(frozen=True)
class Kind:
    """One kind of attack: what must hold, its tests with what each of them tries, and what is not covered."""

    title: str
    promise: str
    tests: dict[str, str]
    short: str


KINDS = {
    "archives": Kind(
        "Hostile archives",
        "An archive that leads out of its folder, contains links, devices, duplicates or a bomb, or is not what it claims to be, is refused in one line. Nothing is written outside of the hidden folder beside the destination, and the destination stays as it was.",
        {
            "test_extract.py::test_hostile_archive": "extract it, to a destination that is absent or empty; then extract the valid archive",
            "test_sources.py::test_hostile_archive": "read it in place, without extracting it",
            "test_extract.py::test_sparse_members_are_refused_with_one_sentence": "sparse files in each encoding, extracted and in place",
            "test_extract.py::test_bombs_are_refused_in_place_too": "bombs that are read in place",
            "test_extract.py::test_a_bomb_is_refused_before_it_fills_the_disk": "a bomb of plain files: what is written before it is refused",
        },
        "Only the ten tar.gz archives of the release are expected, so other forms of compression are refused without a closer look. A member larger than 32 MB is refused even if it is harmless.",
    ),
    "mutations": Kind(
        "Mutations",
        "Whatever bytes change, the result is the original content, an error in one line, or a finding: never a traceback, and never other content without a word.",
        {
            "test_extract.py::test_mutated_archive": "random changes of an archive, or of the tar inside, extracted",
            "test_sources.py::test_mutated_archive": "the same, read in place",
            "test_sources.py::test_a_byte_corrupted_in_the_middle": "a byte in the middle of an archive",
            "test_sources.py::test_a_byte_corrupted_later": "a byte that changes after the archive was indexed",
            "test_sources.py::test_an_archive_that_is_cut_off_while_it_is_open": "an archive that is cut off while it is open",
            "test_sources.py::test_a_download_that_broke_off": "a download that broke off",
            "test_progressive.py::test_answers_during_the_walk": "questions while a damaged archive is still being indexed",
            "test_validate.py::test_no_mutation_makes_it_raise": "a data set after up to five kinds of damage, validated with its pixels",
            "test_validate.py::test_damage_becomes_a_finding": "each kind of damage becomes a finding",
            "test_pixels.py::test_damaged_bytes_never_raise": "damaged JPEGs, measured",
            "test_synthetic.py::test_no_metadata_makes_it_raise": "random metadata of a synthetic batch",
            "test_synthetic.py::test_no_damaged_image_raises_anything_else": "damaged images of other forms, imported as a batch",
            "test_split.py::test_whatever_the_file_it_is_a_split_or_a_clear_error": "random files given as a split",
            "test_annotate.py::test_any_history_that_is_read_is_valid": "damaged histories of an annotation",
        },
        "Random examples find what is common, and prove nothing: the same examples are tried every time (`pytest --hypothesis-profile=explore` tries others). gzip protects the content of an archive by a checksum of 32 bits; a change that was made on purpose, with a new checksum, is only found if it breaks the structure or a rule of the validation.",
    ),
    "kills": Kind(
        "Kills and interruptions",
        "However a command ends (kill -9, SIGTERM, SIGHUP, Ctrl-C, an error at any step), what is at the destination is complete or as it was, no worker goes on, and the next run completes the work.",
        {
            "test_extract.py::test_kill_9_at_random_moments": "kill -9 of an extraction at random moments, then the same command again",
            "test_extract.py::test_a_signal_ends_all_workers": "signals to an extraction with several processes",
            "test_extract.py::test_a_killed_worker_is_an_error": "kill -9 of one worker only",
            "test_extract.py::test_an_exception_at_any_moment_leaves_nothing_half": "exceptions at each step of an extraction",
            "test_files.py::test_nothing_is_left_whatever_fails": "each call that fails while a file or folder is written",
            "test_files.py::test_a_signal_during_the_clean_up_leaves_nothing": "a signal during the clean-up",
            "test_commands.py::test_a_signal_leaves_nothing_behind": "signals to each command while it writes",
            "test_commands.py::test_processes_of_the_validation_end_with_it": "signals to a validation with several processes",
            "test_power_cut.py::test_kill_9_loses_nothing_and_the_next_run_sweeps": "kill -9 of a partial extraction and of an image folder",
            "test_image_folder.py::test_a_stopped_process_leaves_no_folder_under_the_name": "kill -9 and Ctrl-C of an image folder",
            "test_download.py::test_a_killed_download_is_continued": "signals to a download, which is then continued",
            "test_download.py::test_a_kill_at_every_step_leaves_no_wrong_file": "kill -9 of a download at each call that changes a file",
            "test_progressive.py::test_a_kill_leaves_no_partial_index": "kill -9 while an archive is indexed",
            "test_annotate.py::test_a_killed_process_leaves_the_file_old_or_new": "kill -9 of a process that annotates",
        },
        "After kill -9, the hidden folder beside the destination remains, with what was extracted. The next run uses or removes it; without a next run, it must be deleted by hand.",
    ),
    "power": Kind(
        "Power cut and full disk",
        "After a power cut, what was announced as complete has all of its content. Content reaches the disk before its name does. A full disk is one line, and nothing unfinished remains.",
        {
            "test_extract.py::test_the_destination_is_absent_or_complete_after_a_power_cut": "an extraction, and a continued one: the disk as it is 0, 6, 12 and 25 s later",
            "test_power_cut.py::test_nothing_is_there_or_all_of_it_after_a_power_cut": "an image folder, a partial extraction and a table, at the same moments",
            "test_power_cut.py::test_the_content_reaches_the_disk_before_its_name": "the order of the calls",
            "test_extract.py::test_the_content_reaches_the_disk_before_its_name": "the order of the calls of an extraction",
            "test_extract.py::test_nothing_is_published_that_the_disk_did_not_take": "a disk that reports an error while it is flushed",
            "test_extract.py::test_full_disk": "an extraction to a disk that is full before its end",
            "test_extract.py::test_too_little_space_is_known_before": "an extraction to a disk that is too small",
            "test_export.py::test_a_disk_without_room_leaves_nothing": "films and pictures on a full disk",
            "test_annotate.py::test_a_full_disk_keeps_the_change_for_the_next_time": "an annotation on a full disk",
        },
        "The power cut is simulated: the image of a small ext4 file system is copied and mounted again. Other file systems (XFS, APFS, network storage) and disks that only claim to have written were not tried.",
    ),
    "special": Kind(
        "Special files",
        "A named pipe, a socket, a device, a file of a terabyte, a loop of links or a folder in the place of a file is an error in one line or a finding. No command waits for it, or reads more than a bounded part of it (less than 500 MB of memory).",
        {
            "test_special_files.py::test_no_command_waits_or_fills_the_memory": "each kind, in the place of each file, for each command",
            "test_special_files.py::test_no_picture_is_decoded_for_long_or_printed_about": "JPEGs that would take long to decode",
            "test_special_files.py::test_lists_that_are_no_ordinary_files": "as a list of exclusions, or as a split",
            "test_extract.py::test_only_regular_files_are_read": "in the place of an archive",
            "test_split.py::test_a_split_is_a_regular_file_of_some_size": "as a split that is checked",
        },
        "A network file system that stops answering is not covered: a command waits for it, as any program does.",
    ),
    "caches": Kind(
        "Damaged and forged caches",
        "Whatever the cache contains, results are those of an empty cache. A file that is damaged, forged, or not the user's own is ignored and rebuilt.",
        {
            "test_caches.py::test_whatever_changes_in_a_file_the_answer_is_correct": "random changes of a file in the cache",
            "test_caches.py::test_a_forged_index_is_rebuilt": "a forged index of an archive, with a valid checksum",
            "test_caches.py::test_a_bomb_of_names_inflates_to_what_files_can_be_called": "a bomb in an index",
            "test_caches.py::test_forged_measures_are_measured_again": "forged measures of pixels, with a valid checksum",
            "test_caches.py::test_any_arrays_make_an_index_that_fits_or_one_that_does_not": "random arrays as an index: no read outside of the archive",
            "test_caches.py::test_what_is_not_the_users_own_is_not_used": "other owners, open permissions, links, pipes and sparse files in the cache",
            "test_caches.py::test_under_a_limit_of_addresses_nothing_crashes": "limits of the address space",
            "test_sources.py::test_a_damaged_index_is_rebuilt_with_a_word": "a damaged index",
        },
        "A forgery by the *owner* of the cache, in which everything fits, is used: the cache is protected from others, not from its owner. Delete the folder to be certain.",
    ),
    "users": Kind(
        "Two users",
        "In a folder that others can write to, nothing that another user has prepared is used, followed or deleted. Two people who annotate the same video never overwrite each other without being asked.",
        {
            "test_extract.py::test_nothing_that_another_user_prepared_is_trusted": "links, pipes, devices and other owners in each place of the hidden folder",
            "test_extract.py::test_the_home_of_a_caller_is_not_emptied": "a prepared folder that leads to the home of the caller",
            "test_extract.py::test_a_forged_note_of_another_user_is_not_taken_over": "forged notes about what is already extracted",
            "test_extract.py::test_what_others_could_write_to_is_extracted_again": "a hidden folder that others could write to",
            "test_extract.py::test_an_unrelated_folder_of_that_name_is_left_alone": "unrelated folders with the name of ours",
            "test_extract.py::test_only_one_at_a_time": "two extractions to one destination",
            "test_power_cut.py::test_a_destination_in_a_folder_of_another_user": "a destination in a folder of another user",
            "test_files.py::test_a_place_that_another_process_took_stays_theirs": "a place that another process takes at the last moment",
            "test_files.py::test_nothing_else_is_swept": "what looks like our leftovers and is not",
            "test_caches.py::test_a_link_of_another_user_is_not_followed": "a link of another user in the place of the cache",
            "test_download.py::test_the_hidden_folder_of_another_user_is_refused": "a hidden folder of a download that another user owns",
            "test_sources.py::test_two_processes_open_at_once": "two processes that index the same archives",
            "test_annotate.py::test_two_processes_never_overwrite_each_other_in_silence": "two processes that annotate one video",
            "test_annotate.py::test_two_readers_are_both_shown_and_asked": "two readers who annotate one video",
        },
        "The second user is simulated by root. On a file system without locks, such as some network storage, the library cannot notice a second extraction to the same destination.",
    ),
    "messages": Kind(
        "Hostile messages to the player",
        "Whatever a page sends to the kernel, no file but the frames of the video is read, nothing unexpected is written, memory is bounded, and the player goes on.",
        {
            "test_player_use.py::test_hostile_messages_do_no_harm": "in JupyterLab: wrong videos, planes, runs and kinds, floods, and changed state; then the player is used",
            "test_messages.py::test_no_message_to_the_player_does_harm": "random messages and states, without a browser",
            "test_messages.py::test_no_message_to_the_explorer_does_harm": "the same, sent to the explorer",
            "test_annotate.py::test_the_player_saves_what_the_browser_sends_and_survives_anything": "wrong annotations",
        },
        "A page that can send messages to a kernel can usually also run code in it: this protects from damaged and outdated pages, not from an attacker who controls the Jupyter server.",
    ),
    "names": Kind(
        "Hostile names",
        "Names of files and texts of others never reach a terminal, a page or a spreadsheet as control characters, markup or formulas.",
        {
            "test_commands.py::test_names_harm_no_terminal": "escape sequences in names, for each command",
            "test_commands.py::test_no_cell_is_a_formula_and_names_come_back": "names that a spreadsheet takes for formulas",
            "test_commands.py::test_pages_run_nothing_of_others_and_name_no_folder": "markup in names, on each page that the library writes",
            "test_commands.py::test_pages_work_under_their_policy": "the same pages in a browser, under their security policy",
            "test_report.py::test_hostile_names_stay_text": "markup in a report",
            "test_report.py::test_a_hostile_copy_becomes_a_harmless_page": "a copy of the data with hostile names, as a page",
            "test_report.py::test_no_cell_of_the_csv_is_a_formula": "formulas in a report",
        },
        "Names are shown with escapes (`\\x1b`), so a copied name may differ from the name of the file.",
    ),
}


@dataclass
class Count:
    """How many cases were tried, how many held, and what failed or was not tried."""

    tried: int = 0
    held: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)


def select(quick: bool) -> list[str]:
    """Return the options of pytest that choose what is fast and needs no browser."""
    return ["-m", "not slow and not browser"] if quick else []


def run(tests: list[str], quick: bool, folder: Path) -> tuple[Path, str]:
    """Run the tests; return the path of the report and what pytest printed. Real data is switched off."""
    report = folder / "report.xml"
    env = {name: value for name, value in os.environ.items() if name != "NSW_REAL_DATA"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "junit_family=xunit1",
        f"--junitxml={report}",
        *select(quick),
    ]
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)], cwd=ROOT, env=env, text=True, capture_output=True, check=False
    )
    if done.returncode not in (0, 1, 5) or not report.exists():
        raise SystemExit(f"{done.stdout[-3000:]}{done.stderr[-1000:]}\npytest ended with status {done.returncode}")
    return report, done.stdout


def name_of(classname: str, name: str) -> str:
    """Return the test as KINDS names it: `test_x.py::test_y`, without parameters."""
    return f"{classname.split('.')[1]}.py::{name.partition('[')[0]}"


def examples(root: ElementTree.Element) -> dict[str, int]:
    """Return how many examples Hypothesis tried, by test with its parameters."""
    found: dict[str, int] = {}
    for each in root.iter("property"):
        if (name := each.get("name", "")).startswith("hypothesis-statistics-"):
            text = base64.b64decode(each.get("value", "")).decode()
            numbers = re.findall(r"(\d+) passing, (\d+) failing", text)
            node = name.removeprefix("hypothesis-statistics-").removeprefix("tests/")
            found[node] = sum(int(number) for pair in numbers for number in pair)
    return found


def counts(report: Path) -> dict[str, Count]:
    """Return the counts by test from a report of pytest."""
    root = ElementTree.parse(report).getroot()
    tried = examples(root)
    found: dict[str, Count] = {}
    for case in root.iter("testcase"):
        classname, name = case.get("classname", ""), case.get("name", "")
        if not name or "." not in classname:
            continue
        count = found.setdefault(name_of(classname, name), Count())
        if (skip := case.find("skipped")) is not None:
            why = skip.get("message", "no reason").removeprefix("Skipped: ")
            count.skipped[why] = count.skipped.get(why, 0) + 1
            continue
        recorded = [int(each.get("value", "1")) for each in case.iter("property") if each.get("name") == "tried"]
        number = sum(recorded) or tried.get(f"{classname.split('.')[1]}.py::{name}", 1)
        count.tried += number
        if case.find("failure") is None and case.find("error") is None:
            count.held += number
        else:
            count.failed.append(name)
    return found


def section(kind: Kind, found: dict[str, Count]) -> str:
    """Return the part of the page about one kind."""
    rows = []
    for test, what in kind.tests.items():
        count = found.get(test, Count())
        rows.append((what, test.partition(".")[0], f"{count.tried:,}", f"{count.held:,}"))
    lines = [f"## {kind.title}", "", kind.promise, "", table(("What is tried", "In", "Tried", "Held"), rows)]
    for test in kind.tests:
        count = found.get(test, Count())
        lines += [f"\n**Did not hold**: `{test}`, {name}." for name in count.failed]
        for why, number in count.skipped.items():
            lines += [f"\n**Not tried here**: `{test}`, {number} case{'s' * (number != 1)}: {why}."]
    return "\n".join([*lines, "", f"**What falls short.** {kind.short}"])


def page(found: dict[str, Count], kinds: dict[str, Kind], minutes: float, quick: bool) -> list[str]:
    """Return the cells of the page."""
    rows = []
    for kind in kinds.values():
        mine = [found.get(test, Count()) for test in kind.tests]
        skipped = sum(sum(count.skipped.values()) for count in mine)
        tried, held = sum(count.tried for count in mine), sum(count.held for count in mine)
        rows.append((kind.title, f"{tried:,}", f"{held:,}", f"{tried - held:,}", f"{skipped:,}"))
    extra = " This was a quick run: slow tests and those in a browser are missing." if quick else ""
    return [
        "# Robustness\n\n> What was tried to break the library, how often, and what held",
        "What people rely on most is what they cannot see: that an extraction that ended is complete, that a number comes from the frame that it names, that a "
        "shared folder is safe to use. This page counts the attempts to break these promises. One command runs them and writes the page: "
        "`python benchmarks/robustness.py`. Each case is a test of the project, so `python3 start.py test` repeats all of them; `KINDS` in the script names the tests. "
        "All data is invented.",
        f"{table(('Kind', 'Tried', 'Held', 'Did not hold', 'Not tried here'), rows)}\n\n"
        f"On {machine()}; {minutes:.0f} minutes.{extra}\n\n"
        "*Not tried here* counts tests that this machine cannot run; they are listed below with the reason. Each section ends with what falls short. "
        "All of this was tried on Linux only; macOS shares the code, and Windows reads but does not extract.",
        *(section(kind, found) for kind in kinds.values()),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only what is fast and needs no browser; write nothing")
    parser.add_argument("--write", action="store_true", help="write the page even so; it says that the run was quick")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"write nothing: {', '.join(KINDS)}")
    args = parser.parse_args(argv)
    kinds = {name: kind for name, kind in KINDS.items() if not args.only or name in args.only}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report, said = run(
            list(dict.fromkeys(t for kind in kinds.values() for t in kind.tests)), args.quick, Path(folder)
        )
        found = counts(report)
    cells = page(found, kinds, (time.monotonic() - began) / 60, args.quick)
    failed = any(count.failed for count in found.values())
    if failed:
        print(said[-8000:], file=sys.stderr)
    if (args.quick or args.only) and not args.write:
        print("\n\n".join(cells))
    else:
        write_page(PAGE, cells)
        print(cells[2])
        print(f"\nwritten to {PAGE.relative_to(ROOT)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
