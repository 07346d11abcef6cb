"""One generated sequence of commands on two servers, compared answer by answer; `docs/embedded-differences.md` tells what may differ."""
