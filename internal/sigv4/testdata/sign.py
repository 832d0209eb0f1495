"""Signs requests with botocore, now, and prints them as they go over the wire."""

import json
import sys
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

key, secret, token, service, region = sys.argv[1:]
base = "http://chat.example.com:4870"
arn = "arn%3Aaws%3Aivschat%3Aus-west-2%3A123456789012%3Aroom%2FAbCdEf123456"
out = []


def sign(name, method, target, body="", headers=(), presign=False, refused=False):
    for session in (None, token):
        request = AWSRequest(method=method, url=base + target, data=body.encode() if body else b"")
        for header, value in headers:
            request.headers.add_header(header, value)
        credentials = Credentials(key, secret, session)
        if presign:
            SigV4QueryAuth(credentials, service, region, expires=60).add_auth(request)
        else:
            SigV4Auth(credentials, service, region).add_auth(request)
        parts = urlsplit(request.url)
        wire = f"{method} {parts.path}" + (f"?{parts.query}" if parts.query else "") + " HTTP/1.1\r\n"
        wire += f"Host: {parts.netloc}\r\n"
        for header, value in request.headers.items():
            wire += f"{header}: {value}\r\n"
        if body:
            wire += f"Content-Length: {len(body.encode())}\r\n"
        out.append({
            "name": name + (" with a session token" if session else ""),
            "wire": wire + "\r\n" + body, "body": body, "refused": refused,
        })


sign("an operation", "POST", "/CreateRoom", '{"name": "lobby ✓"}', [("Content-Type", "application/json")])
sign("a tag", "GET", "/tags/" + arn)
sign("tags to remove", "DELETE", "/tags/" + arn + "?tagKeys=b%2Fc&tagKeys=a%20%2B&tagKeys=%C3%A9")
sign("a path to normalise", "POST", "//a/./b//c/../%7Ed/", "{}")
sign("a path that ends in dots", "POST", "/a/b/c/..", "{}")
sign("blanks and repetition", "POST", "/ListRooms", "{}", [("X-Custom", "  b \t c   d "), ("X-Custom", "a")])
sign("HTTP's date", "POST", "/ListRooms", "{}", [("Date", "now")])
sign("a presigned operation", "POST", "/tags/" + arn + "?tagKeys=a", presign=True)
sign("an unsigned body", "POST", "/ListRooms", "{}", [("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")], refused=True)
json.dump(out, sys.stdout)
