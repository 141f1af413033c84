"""What keeps the project: releases, subjects of commits, coverage of modules, the documentation's site."""
