"""What checks types at run time in tests: by the rules of PEP 484, where a whole number is a ``float`` as well."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
