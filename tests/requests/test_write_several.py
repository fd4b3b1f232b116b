"""Several files of prompts become one request file, whose ids and problems say what is whose."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from openai_batches import InputError, InvalidRequestsError, write_request_file

if TYPE_CHECKING:
    from pathlib import Path

DELIMITER = "which the header does not have: it is all one field, is ';' the delimiter?"


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Files of three formats, with a prompt on their lines 2 and 3, 1 and 3, and 1."""
    texts = {"a.csv": "id,text\n1,a\n2,b\n", "b.jsonl": '{"id": 3, "text": "c"}\n\n{"text": "d"}\n', "c.txt": "e\n"}
    paths = [tmp_path / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths


async def test_several_files_become_one(three: list[Path], tmp_path: Path) -> None:
    """One after the other, each in its format; rows are counted through all of them, so that no two ids are alike."""
    path = tmp_path / "requests.jsonl"
    written = await write_request_file(iter(three), path, model="m", template="{text}")
    requests = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert (written.requests, written.blank_lines) == (5, 1)
    assert [request["body"]["messages"][0]["content"] for request in requests] == list("abcde")
    assert [request["custom_id"] for request in requests] == [f"request-{number:07d}" for number in range(1, 6)]
    await write_request_file(three, path, model="m", template="{text}", limit=3, custom_id="{number}", overwrite=True)
    assert [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()] == ["1", "2", "3"]


async def test_problems_of_several_files_name_theirs(three: list[Path], tmp_path: Path) -> None:
    """In their order; an id may not be in two of them, and what one file lacks does not hide what else there is."""
    (tmp_path / "bad.csv").write_text("id;text\n9;z\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "last.csv").write_text('id,text\n2,f\n4,g\n"4",\n4,i\n')
    sources = [three[0], tmp_path / "bad.csv", tmp_path / "empty.txt", tmp_path / "last.csv"]
    with pytest.raises(InvalidRequestsError, match=r"^7 problems in the prompts") as caught:
        await write_request_file(sources, tmp_path / "o.jsonl", model="m", template="{text}", custom_id="{id}")
    assert [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems] == [
        f"bad.csv:1: The template asks for 'text', {DELIMITER}",
        f"bad.csv:1: The custom_id asks for 'id', {DELIMITER}",
        "empty.txt: There are no prompts: the file is empty.",
        "last.csv:2: The id of this row is that of a.csv:3 too. (custom_id '2')",
        "last.csv:4: The field 'text' is empty. (custom_id '4')",
        "last.csv:4: The id of this row is that of line 3 too. (custom_id '4')",
        "last.csv:5: The id of this row is that of line 3 too. (custom_id '4')",
    ]
    assert [problem.first_line for problem in caught.value.problems[3:]] == [None, None, 3, 3]


async def test_a_number_may_not_be_the_id_of_a_row_in_another_file(tmp_path: Path) -> None:
    """Rows without an id of their own are numbered, and a table may have used that very id."""
    (tmp_path / "a.csv").write_text("custom_id,text\nrequest-0000002,a\n")
    (tmp_path / "b.csv").write_text("text\nb\n")
    with pytest.raises(InvalidRequestsError, match=r"b\.csv:2: The id of this row is that of .*a\.csv:2 too"):
        await write_request_file(
            [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "o.jsonl", model="m", template="{text}"
        )
    with pytest.raises(InvalidRequestsError, match=r"line 2: The id of this row is that of line 2 of another file too"):
        await write_request_file([b"a,b\n1,x\n"] * 2, io.BytesIO(), model="m", format="csv", custom_id="a")


async def test_a_hundred_problems_are_enough_for_all_files(tmp_path: Path) -> None:
    """The files behind are not read for more."""
    (tmp_path / "a.csv").write_text("a,b\n" + "1\n" * 100)
    with pytest.raises(InvalidRequestsError, match=r"^The first 100 problems"):
        await write_request_file([tmp_path / "a.csv", tmp_path / "none.csv"], io.BytesIO(), model="m", template="{a}")


async def test_there_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file of prompts: the list is empty"):
        await write_request_file([], tmp_path / "o.jsonl", model="m")
