import io

from ops.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_lines_go_above_the_progress_line() -> None:
    screen = Screen()
    terminal = Terminal(screen)
    terminal.progress("1 of 2")
    terminal.say("a line")
    terminal.progress("2 of 2")
    terminal.progress("")
    assert screen.getvalue() == "1 of 2\r\033[Ka line\n1 of 2\r\033[K2 of 2\r\033[K"


def test_without_a_terminal_progress_is_plain_lines() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    for text in ("1 of 2", "1 of 2", "2 of 2", ""):
        terminal.progress(text)
    terminal.say("done")
    assert out.getvalue() == "1 of 2\n2 of 2\ndone\n"
