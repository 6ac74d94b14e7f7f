from mailbell.logs.journal import Journal
from mailbell.logs.switch import Switch


def test_a_change_of_state_is_one_line_and_no_change_is_none() -> None:
    lines: list[str] = []
    switch = Switch(Journal(lines.append, lambda: 0.0), "accepting", "tcp 0.0.0.0:79")
    switch.on()
    switch.off("EMFILE")
    switch.off("EMFILE")
    switch.on()
    switch.on()
    assert lines == [
        'event=accepting_paused on="tcp 0.0.0.0:79" error=EMFILE',
        'event=accepting_resumed on="tcp 0.0.0.0:79"',
    ]
