"""The console: a page to talk to an agent and to look inside, at `/` for browsers. Only with `debug`.

`page` serves the files; `ppio-agent console` takes it too, for agents elsewhere.
"""
