"""Lists of images as people, pandas and Excel write them."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.list_file import LineErrors, ListFile, Row, open_list
from shardtune.errors import DataError

ROWS = [(2, "a.jpg", "cat"), (3, "b/c.jpg", "dog")]


def read(content: bytes | str) -> tuple[ListFile, list[Row], str]:
    """What is in a list, and the error about its lines."""
    path = Path("list")
    data = content.encode() if isinstance(content, str) else content
    errors = LineErrors(path)
    opened = open_list(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), path, errors)
    rows = list(opened.rows)
    try:
        errors.raise_if_any("Correct them.")
    except DataError as error:
        return opened, rows, error.message
    return opened, rows, ""


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.jpg,cat\nb/c.jpg,dog\n",
        "path,label\r\na.jpg,cat\r\nb/c.jpg,dog",
        "\ufeffFile Name;Class\na.jpg;cat\nb/c.jpg;dog\n",
        "label\timage\ncat\ta.jpg\ndog\tb/c.jpg\n",
        ",image_path,class-name\n0,a.jpg,cat\n1,b/c.jpg,dog\n",  # df.to_csv(path)
        '"Unnamed: 0","filename","label"\n"0","a.jpg","cat"\n"1","b/c.jpg","dog"\n',
        "path,label\n./a.jpg, cat \nb//c.jpg,dog\n\n",
        'path,width,label\na.jpg,3,cat\n"b/c.jpg",4,"dog"\n',
    ],
)
def test_a_list_is_read_as_people_write_it(content: str) -> None:
    _, rows, error = read(content)
    assert [(row.line, row.path, row.label) for row in rows] == ROWS
    assert {(row.split, row.group) for row in rows} == {("train", None)}
    assert not error


def test_json_lines_are_read() -> None:
    first = '{"file": "a.jpg", "label": 3, "split": "val", "group": 7}'
    second = '{"group": "g", "label": "x", "file": "b", "split": "TEST"}'
    _, rows, error = read(f"{first}\n\n{second}")
    assert rows == [Row(1, "a.jpg", "3", "validation", "7"), Row(3, "b", "x", "test", "g")]
    assert not error


def test_the_columns_are_named() -> None:
    opened, _, _ = read("index,path,label,class,width,split,Group ID\n")
    assert opened.columns == {"path": "path", "label": "label", "split": "split", "group": "Group ID"}
    assert opened.ignored == ["class", "width"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The first line of list names no column of paths: ''"),
        ("a.jpg,cat\n", "The first line of list names no column of paths: 'a.jpg,cat'"),
        ("path,kind\na.jpg,cat\n", "The first line of list names no column of labels"),
        ("path,label,label\n", "list has two columns 'label'"),
        ('[{"path": "a"}]', "list is a JSON array. Give JSON lines, which pandas writes with orient='records', lines=True."),
        ('{"path": "a"\n', "Line 1 of list is not a JSON object"),
    ],
)
def test_what_has_no_columns_is_refused(content: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        read(content)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a.jpg", "1 columns instead of 4"),
        ("a.jpg,cat,train,g,", "5 columns instead of 4"),
        (",cat,train,g", "no path"),
        ("a.jpg, ,train,g", "no label"),
        ("a.jpg,cat,,g", "no split"),
        ("a.jpg,cat,train,", "no group"),
        ("a.jpg,cat,holdout,g", "the split 'holdout' is none of train, validation and test"),
        ('a.jpg,"two\nlines",train,g', "the label 'two\\nlines' is not one line of UTF-8"),
        ("a\0.jpg,cat,train,g", "null character|NUL"),
    ],
)
def test_a_wrong_line_is_named(line: str, problem: str) -> None:
    _, rows, error = read(f"path,label,split,group\nx.jpg,cat,train,g\n{line}\ny.jpg,cat,val,h\n")
    assert rows[0] == Row(2, "x.jpg", "cat", "train", "g")
    assert error.startswith("list has 1 wrong line(s): line 3: ")
    assert any(part in error for part in problem.split("|"))
    assert "NUL" in error or rows[1:] == [Row(5 if "\n" in line else 4, "y.jpg", "cat", "validation", "h")]


def test_a_quote_that_is_never_closed_is_named() -> None:
    _, rows, error = read('path,label\na.jpg,cat\n"b.jpg,dog\nc.jpg,dog\n')
    assert [row.path for row in rows] == ["a.jpg"]
    assert error == "list has 1 wrong line(s): line 3: unexpected end of data; the lines after it were not read."


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1]", "no JSON object (not an object)"),
        ('{"path": "a"', "no JSON object (Expecting"),
        ('{"path": "a", "label": null}', "no label"),
        ('{"path": "a", "label": 0.5}', "the label 0.5 is not text"),
        ('{"path": "a", "label": true}', "the label True is not text"),
        ('{"path": ["a"], "label": "x"}', "the path ['a'] is not text"),
        ('{"path": "a\\ud800", "label": "x"}', "the path 'a\\ud800' is not Unicode"),
        ('{"path": "a\\u0000", "label": "x"}', "the path 'a\\x00' has a null character"),
        ('{"path": "a", "label": "x", "split": "test"}', "it has a split, the first line has none"),
        ("[" * 100_000, "no JSON object ("),
    ],
)
def test_a_wrong_object_is_named(line: str, problem: str) -> None:
    _, rows, error = read(f'{{"path": "x", "label": "y"}}\n{line}\n{{"path": "z", "label": "y"}}\n')
    assert [row.path for row in rows] == ["x", "z"]
    assert error.startswith(f"list has 1 wrong line(s): line 2: {problem}")


def test_all_wrong_lines_are_counted_and_the_first_are_shown() -> None:
    _, _, error = read("path,label\n" + "a.jpg\n" * 25)
    shown = ", ".join(f"line {number}: 1 columns instead of 2" for number in range(2, 12))
    assert error == f"list has 25 wrong line(s): {shown} and 15 more."


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
PATHS = TEXT.filter(lambda text: text.strip() and str(Path(text)) == text)
LABELS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@given(
    st.lists(st.tuples(PATHS, LABELS), min_size=1, max_size=8),
    st.sampled_from([",", "\t", ";"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_writes_is_read(rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)  # as a line end in a path needs
    writer.writerows([("path", "label"), *rows])
    _, found, error = read(file.getvalue())
    assert not error
    assert [row.path for row in found] == [path for path, _ in rows]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error(content: bytes) -> None:
    for start in (b"", b"path,label\n", b'{"path": "a", "label": "b"}\n'):
        try:
            _, rows, _ = read(start + content)
        except (DataError, UnicodeDecodeError):
            continue
        assert all(isinstance(row.path, str) and row.label for row in rows)


def test_names_are_compared_as_those_of_classes_and_quotes_may_follow_a_space() -> None:
    _, rows, error = read('path,label,group\na.jpg, "cat",p1\nb.jpg,"cat",p1 \nc.jpg, cat,Zoe\u0308\nd.jpg,cat,Zo\u00eb\n')
    assert error == ""
    assert [(row.label, row.group) for row in rows] == [("cat", "p1"), ("cat", "p1"), ("cat", "Zo\u00eb"), ("cat", "Zo\u00eb")]
