"""The stock launcher's command line and environment, read as its option parser (clap) reads them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from tgi_autoround.errors import ConfigError
from tgi_autoround.tgi.environment import names_auto_round

QUANTIZE = "--quantize"
INFORMATION = frozenset({"-h", "--help", "-V", "--version"})


@dataclass(frozen=True)
class CommandLine:
    """Arguments after the program's name, and the environment that stands in for options that are not among them."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def asks_for_information(self) -> bool:
        """Whether the launcher will print its help or version, and end."""
        return not INFORMATION.isdisjoint(self._before_separator)

    @property
    def asks_for_auto_round(self) -> bool:
        """Whether `--quantize`, or QUANTIZE where that is not given, says AutoRound. Raises ConfigError."""
        given = [value for name, value, _ in self._options if name == QUANTIZE]
        if len(given) > 1 and any(map(names_auto_round, given)):
            raise ConfigError(f"--quantize is given {len(given)} times, as {' and '.join(given)}; give it once")
        return names_auto_round(self.value(QUANTIZE) or "")

    def value(self, option: str) -> str | None:
        """Return what `--some-option` says, or SOME_OPTION where it is not given."""
        for name, value, _ in self._options:
            if name == option:
                return value
        return self.environment.get(option.removeprefix("--").replace("-", "_").upper())

    def without_quantize(self) -> list[str]:
        """Return the arguments less every `--quantize` and its value."""
        return self.without(QUANTIZE)

    def without(self, *options: str) -> list[str]:
        """Return the arguments less every one of the options and its value."""
        left_out = {index for name, _, indices in self._options if name in options for index in indices}
        return [argument for index, argument in enumerate(self.arguments) if index not in left_out]

    @functools.cached_property
    def _options(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """`--name=value` and `--name value` as (name, value, positions); a value begins with no hyphen, as in clap."""
        options: list[tuple[str, str, tuple[int, ...]]] = []
        for index, argument in enumerate(self._before_separator):
            name, equals, value = argument.partition("=")
            following = self.arguments[index + 1 : index + 2]
            if name.startswith("--") and equals:
                options.append((name, value, (index,)))
            elif name.startswith("--") and following and not following[0].startswith("-"):
                options.append((name, following[0], (index, index + 1)))
        return options

    @functools.cached_property
    def _before_separator(self) -> tuple[str, ...]:
        end = self.arguments.index("--") if "--" in self.arguments else len(self.arguments)
        return self.arguments[:end]
