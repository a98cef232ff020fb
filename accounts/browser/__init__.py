"""Signing in from a web page, without a credential that the page's scripts could lose.

The page keeps the access token in its memory. What outlives the page is a refresh token in a
cookie that no script can read, that is sent to these three paths alone and from no other site.
`docs/dashboard.md` explains the choice.
"""
