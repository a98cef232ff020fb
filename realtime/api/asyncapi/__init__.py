"""The AsyncAPI 3.0 document of the WebSocket endpoints, and a page that shows it to people.

Schemas, codes and limits come from the code that uses them; the texts beside them are kept here.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""
