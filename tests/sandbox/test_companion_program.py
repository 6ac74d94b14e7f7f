"""The compiled programs of the sender and its companions do what their policies say.

As test_program.py shows it for mailbelld: for every call number, around every condition, and by
a second reading of the text.
"""

from pathlib import Path

import pytest
from sandbox.program.cases import NUMBERS, ZEROES, arguments, noise, permitted
from sandbox.program.subject import Publish, Tally, native_with
from sandbox.test_companion_rules import ELSEWHERE

from mailbell.sandbox.policy_file import FOLDER


@pytest.mark.long
@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_compiled_program_answers_as_the_text_says(
    name: str, tmp_path: Path, record_property: Publish
) -> None:
    tally = Tally(native_with(ELSEWHERE[name], tmp_path, Path(FOLDER, f"{name}.toml")))
    paragraphs = tally.subject.reading.paragraphs
    for number, paragraph in paragraphs.items():
        for args in arguments(paragraph):
            tally.add(number, args)
    tempting = {args for one in paragraphs.values() for args in permitted(one)}
    for number in NUMBERS:
        for args in (*list(tempting)[:2], ZEROES, noise(number)):
            tally.add(number, args)
    tally.publish(record_property)
