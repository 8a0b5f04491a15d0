"""The driver for MariaDB: logical dumps by mariadb-operator, each in a place of its own."""
