"""A seccomp program turned into trees of questions, which can be asked a million times.

Its jumps go forward only, and the accumulator holds only a masked word. So every instruction
of a program from libseccomp is a question about one word, an answer, or neither. Any other
program is refused. `harness.bpf` runs the same programs unchanged and slowly, and this module
is compared with it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from harness.bpf import Code, InvalidProgramError, check

__all__ = ["Decisions", "Judge"]

ALL: Final = 0xFFFFFFFF
LOAD, AND, JUMP, RETURN = 0x20, 0x54, 0x05, 0x06
JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL = 0x15, 0x25, 0x35

# `struct seccomp_data` of a little-endian machine has these words before the arguments. The
# instruction pointer has no effect, and so it is not zero.
NUMBER, ARCHITECTURE = 0, 1
INSTRUCTION_POINTER: Final = (0x89ABCDEF, 0x00007FFF)
FIRST_ARGUMENT: Final = 4

# Is this word, under this mask, between these two? There is one way for yes, another for no.
Question = tuple[int, int, int, int, "Question | int", "Question | int"]
# The position of an instruction, and the word and mask of the accumulator's content.
Place = tuple[int, int, int]


class Judge:
    """What is left of the tree for one call of one architecture: questions about its arguments.

    Here a question names an argument, and its mask and limits have 64 bits.
    """

    def __init__(self, first: Question | int) -> None:
        self._first = first

    def answer(self, args: Sequence[int]) -> int:
        """Return the program's answer for these arguments."""
        node = self._first
        while isinstance(node, tuple):
            argument, mask, low, high, yes, no = node
            node = yes if low <= args[argument] & mask <= high else no
        return node


class Decisions:
    """A program, ready to be run."""

    def __init__(self, program: Sequence[Code]) -> None:
        check(program)
        self._program = program
        self._first = self._tree()

    def judge(self, architecture: int, number: int) -> Judge:
        """Answer the questions that are not about arguments, for a call of an architecture."""
        known = {
            NUMBER: number & ALL,
            ARCHITECTURE: architecture,
            **dict(enumerate(INSTRUCTION_POINTER, ARCHITECTURE + 1)),
        }
        left: dict[int, Question | int] = {}  # by the identity of the node in the whole tree

        def rest(node: Question | int) -> Question | int:
            while isinstance(node, tuple) and node[0] in known:
                word, mask, low, high, yes, no = node
                node = yes if low <= known[word] & mask <= high else no
            if not isinstance(node, tuple):
                return node
            if id(node) not in left:
                word, mask, low, high, yes, no = node
                argument, upper = divmod(word - FIRST_ARGUMENT, 2)
                by = 32 if upper else 0
                left[id(node)] = (argument, mask << by, low << by, high << by, rest(yes), rest(no))
            return left[id(node)]

        return Judge(rest(self._first))

    def _tree(self) -> Question | int:
        """Return the tree. Jumps go forward only, so one pass from the last position suffices."""
        nodes: dict[Place, Question | int] = {}
        for place in sorted(self._places(), reverse=True):
            code, _, _, k = self._program[place[0]]
            targets = [nodes[target] for target in self._next(place)]
            if code == RETURN:
                nodes[place] = k
            elif len(targets) == 1:
                nodes[place] = targets[0]
            else:
                low = k + 1 if code == JUMP_GREATER else k
                high = k if code == JUMP_EQUAL else ALL
                nodes[place] = (*place[1:], low, high, targets[0], targets[1])
        return nodes[0, 0, 0]

    def _places(self) -> set[Place]:
        found: set[Place] = set()
        todo: list[Place] = [(0, 0, 0)]
        while todo:
            place = todo.pop()
            if place not in found:
                found.add(place)
                todo += self._next(place)
        return found

    def _next(self, place: Place) -> Iterator[Place]:
        """Where it goes from here: if the answer is yes, and if it is no."""
        at, word, mask = place
        code, jump_true, jump_false, k = self._program[at]
        if code == LOAD and k % 4 == 0 and k < 64:
            yield at + 1, k // 4, ALL
        elif code == AND:
            yield at + 1, word, mask & k
        elif code == JUMP:
            yield at + 1 + k, word, mask
        elif code in {JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL}:
            yield at + 1 + jump_true, word, mask
            yield at + 1 + jump_false, word, mask
        elif code != RETURN:
            raise InvalidProgramError(f"instruction {at}: code {code:#x}")
