"""Records what the real oslo.config does with nasty files, and what the real Nova says of its options.

Run it where Nova's packages are (Debian's python3-nova and its dependencies; PYTHONPATH may point to unpacked ones):
    /usr/bin/python3 record-oslo.py
It writes oslo.json and nova-options.json beside itself. Recorded with oslo.config 9.0.0, Nova 26.2.2 (Zed).
"""
import json
import os
import tempfile
import warnings

warnings.simplefilter('ignore')

from oslo_config import cfg, iniparser, types  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))

INI = [
    '[DEFAULT]\na = 1\nb: 2\n', 'a = 1\n[DEFAULT]\n', '[DEFAULT]\na\n', '[DEFAULT]\n= 1\n', '[DEFAULT\na=1\n', '[]\n', '[DEFAULT] ; x\n',
    '[DEFAULT]\n  indented = 1\n', '[DEFAULT]\na = 1\n  two\n\tthree\nb = 2\n', '[DEFAULT]\na = 1\n\n  two\n', '[DEFAULT]\na = 1\n# c\n  two\n',
    '[DEFAULT]\na = 1\n  # no comment\nb = 2\n', '[DEFAULT]\na = 1\n   \nb = 2\n', '[DEFAULT]\na = "x"\nb = \'y\'\nc = "z\'\nd = "\ne = ""\nf = "\'q\'"\n',
    '[DEFAULT]\na = "x" # note\n', '[DEFAULT]\na = "x\n  y"\n', '[DEFAULT]\na = x ; y\n', '[DEFAULT]\na:b=c\nd=e:f\nurl = rabbit://u:p@h\nk v = 1\n',
    '[DEFAULT]\na =\n  x\n  y\n', '[DEFAULT]\na =\nb=\n', '[DEFAULT]\r\na = 1\r\n two\r\n', '[DEFAULT]\ra = 1\r', '[DEFAULT]\na=1\n[neutron]\na=2\n[DEFAULT]\na=3\n',
    '[Neutron]\na=1\n[neutron]\na=2\n', '[default]\na=1\n', '[ DEFAULT ]\na=1\n', '[a]b]\nx=1\n', '#x\n;y\n[DEFAULT]\n;a=1\n', '[DEFAULT]\na=1\na=2\n',
    '[DEFAULT]\na = 1 \t\n', '', '\n\n', '[DEFAULT]', '[DEFAULT]\na=\u00e4\u20ac\n', '[DEFAULT]\n[x]\n', '[DEFAULT]\na = 1', '[DEFAULT]\na == b\n', '[DEFAULT]\na = [b]\n[c\n',
]

TYPES = {
    'string': types.String(), 'boolean': types.Boolean(), 'integer': types.Integer(), 'integer0to9': types.Integer(0, 9), 'float': types.Float(),
    'float0': types.Float(min=0.0), 'port': types.Port(), 'list': types.List(), 'listOfIntegers': types.List(types.Integer()), 'dict': types.Dict(),
    'choice': types.String(choices=['a', 'b']), 'choiceAnyCase': types.String(choices=['days', 'Hours'], ignore_case=True),
    'uri': types.URI(), 'hostAddress': types.HostAddress(), 'hostDomain': types.HostDomain(),
}
VALUES = {
    'string': ['', ' x ', '"q"'],
    'boolean': ['true', 'TRUE', 'On', 'yes', '1', 'false', 'oFF', 'no', '0', '', 'y', 't', 'enabled', '2', 'toString', '__proto__'],
    'integer': ['1', '-1', '+5', ' 7 ', '', '  ', '1.0', '1e3', '0x10', '1_000', '1__0', '_1', 'ten', '00012', '-0', '1 2'],
    'integer0to9': ['0', '9', '10', '-1', ''],
    'float': ['1', '1.5', '.5', '5.', '1e3', '-1E-3', '', 'x', '1,5', '+2.0', '1_0.5'],
    'float0': ['0', '-0.1', '16.0'],
    'port': ['0', '65535', '65536', '-1', 'http'],
    'list': ['', 'a', 'a,b', ' a , b ', 'a,,b', ',a', 'a,', 'a,,,', ',', 'a b', 'a,\nb', '"a","b"', '[a,b]'],
    'listOfIntegers': ['1,2', '1, 2 ,3', '1,x', 'x,1', '1,,2'],
    'dict': ['', 'a:b', 'a:b,c:d', ' a : b , c:d ', 'a:b:c', 'a:b,c', 'a', ':b', 'a:1,a:2', 'a:', 'a:b,'],
    'choice': ['a', 'b', 'A', '', 'c', ' a'],
    'choiceAnyCase': ['days', 'DAYS', 'hours', 'x'],
    'uri': ['http://a', 'http://a:80/b?c#d', 'ws://127.0.0.1:6083/', 'a', '/x', 'http://', 'http:///x', 'mailto:a@b', 'http://[::1]:80/'],
    'hostAddress': ['a', 'a.b', 'a.b.', '127.0.0.1', '::1', '1.2.3', '300.1.1.1', '-a', 'a-', 'a_b', '', 'a' * 63, 'a' * 64, 'a..b', 'a b', '1a', '12', 'A.B-c', '.'],
    'hostDomain': ['a_b', '_a.b', 'a.b', '1.2.3', '-a', 'a' * 64, '::1', 'x y', 'a_b.'],
}


def o(kind, name, section='DEFAULT', **more):
    return dict(kind=kind, name=name, section=section, **more)


REFERENCES = ['$b', '${b}', '$nosuch', 'x$nosuch.y', '${nosuch}', '$$b', '\\$b', '$$$b', '$grp.b', '${grp.b}', '$grp.nosuch', '$nogrp.b', '$b.old', '${b}.old',
              '$host.', '$flag', '$f', '$l', '$none', '$1', 'cost $', '${', '${b', '$B', '${grp.b}/$grp.i', '$m', '$DEFAULT.b', '${DEFAULT.b}', '$b-x', '$grp.i', '${b.}',
              '$i', '$', '$$', '$ b', '${ b}', '$chain', '$odd', '$listed', '$grp2.b']
REF_OPTIONS = [o('string', 'a'), o('string', 'b', default='B'), o('boolean', 'flag', default=True), o('float', 'f', default=1.0), o('list', 'l', default=['x', 'y']),
               o('string', 'none'), o('integer', 'i', default=3), o('multi', 'm', default=['q']), o('string', 'host', default='H'), o('string', 'chain', default='<$b>'),
               o('string', 'odd', default="it's"), o('list', 'listed', default=["it's", 'b']),
               o('string', 'g', 'grp'), o('string', 'b', 'grp', default='gB'), o('integer', 'i', 'grp')]
NAMES = [o('string', 'new', 'sec', deprecated=['old', 'DEFAULT.older']), o('multi', 'driver', 'sec', default=[], deprecated=['DEFAULT.drv']), o('integer', 'n', 'sec', default=5, min=0, max=9)]

SETS = {'references': REF_OPTIONS, 'names': NAMES}
RESOLVE = [dict(options='references', files=['[DEFAULT]\na = %s\n[grp]\ng = %s\n' % (v, v)], want=['DEFAULT.a', 'grp.g']) for v in REFERENCES]
RESOLVE += [dict(options='references', files=['[DEFAULT]\n' + t]) for t in ['a = $a\n', 'a = $b\nb = $a\n', 'i = $b\n', 'b = 7\ni = $b\n', 'l = $b,$host\n', 'm = $b\nm = $host\n', 'flag = $f\n', 'b=\na=<$b>\n']]
RESOLVE += [dict(options='names', files=f) for f in [
    ['[sec]\nold=1\n'], ['[DEFAULT]\nolder=1\n'], ['[sec]\nold=1\nnew=2\n'], ['[sec]\nnew=2\nold=1\n'], ['[sec]\nnew=1\n', '[sec]\nold=2\n'], ['[sec]\nold=1\n', '[DEFAULT]\nolder=2\n'],
    ['[DEFAULT]\nolder=1\n[sec]\nold=2\n'], ['[sec]\nnew=1\nnew=2\n'], ['[SEC]\nnew=1\n[sec]\nnew=2\n'], ['[sec]\ndriver=a\ndriver=b\n'], ['[sec]\ndriver=a\n', '[sec]\ndriver=b\n'],
    ['[sec]\ndriver=a\n[DEFAULT]\ndrv=b\n'], ['[DEFAULT]\ndrv=b\n', '[sec]\ndriver=a\n'], ['[sec]\ndriver=a\ndriver=b\n', '[sec]\ndriver=c\ndriver=d\n'], ['[sec]\ndriver=\n'],
    ['[sec]\nn=10\n'], ['[sec]\nn=x\n', '[sec]\nn=3\n'], ['[sec]\nn=3\n', '[sec]\nn=x\n'], ['[sec]\nn=4\nn=-1\n'], ['[sec]\nnew = "a b"\n'], ['[sec]\nnew = a\n b\n']]]


def ini(text):
    path = os.path.join(tempfile.mkdtemp(), 'x.conf')
    with open(path, 'wb') as out:
        out.write(text.encode())
    normalized = {}
    parser = cfg.ConfigParser(path, {})
    parser._add_normalized(normalized)
    try:
        parser.parse()
    except iniparser.ParseError as error:
        return {'text': text, 'error': error.msg, 'line': error.lineno}
    return {'text': text, 'sections': normalized}


def value(kind, text):
    try:
        return {'type': kind, 'text': text, 'value': TYPES[kind](text)}
    except ValueError:
        return {'type': kind, 'text': text, 'error': True}


KINDS = {'string': cfg.StrOpt, 'boolean': cfg.BoolOpt, 'float': cfg.FloatOpt, 'list': cfg.ListOpt, 'integer': cfg.IntOpt, 'multi': cfg.MultiStrOpt}


def resolve(case):
    conf = cfg.ConfigOpts()
    for option in SETS[case['options']]:
        spec = {k: v for k, v in option.items() if k not in ('kind', 'section', 'deprecated', 'name')}
        old = [cfg.DeprecatedOpt(d.split('.')[-1], group=d.split('.')[0] if '.' in d else None) for d in option.get('deprecated', [])]
        conf.register_opt(KINDS[option['kind']](option['name'], deprecated_opts=old, **spec), group=None if option['section'] == 'DEFAULT' else option['section'])
    paths = []
    folder = tempfile.mkdtemp()
    for at, text in enumerate(case['files']):
        paths += ['--config-file', os.path.join(folder, '%d.conf' % at)]
        with open(paths[-1], 'w') as out:
            out.write(text)
    conf(paths)
    result = {}
    for option in SETS[case['options']]:
        where = '%s.%s' % (option['section'], option['name'])
        if where not in case.get('want', [where]):
            continue
        try:
            found = conf._get(option['name'], group=None if option['section'] == 'DEFAULT' else conf._get_group(option['section']))
            result[where] = {'value': found}
        except (cfg.Error, ValueError, RecursionError, AttributeError):
            result[where] = {'error': True}
    return {'options': case['options'], 'files': case['files'], 'result': result}


def nova_options():
    import webob.dec  # noqa: F401  (keystonemiddleware expects it loaded)
    import nova.conf
    from keystoneauth1 import loading
    from keystonemiddleware.auth_token import _opts as middleware
    from oslo_log import _options as log
    from oslo_messaging import server, transport
    from oslo_messaging._drivers import amqp, base, impl_rabbit
    from oslo_messaging.notify import notifier
    from oslo_messaging.rpc import client
    import vif_plug_ovs.ovs as ovs
    found = {}

    def add(section, options):
        for option in options:
            kind = option.type
            choices = getattr(kind, 'choices', None)
            found.setdefault(section, {})[option.dest] = {
                'type': 'Multi' if option.multi else type(kind).__name__, 'default': option.default, 'min': getattr(kind, 'min', None), 'max': getattr(kind, 'max', None),
                'choices': [c for c in choices if c is not None] if choices else None, 'secret': option.secret,
                'deprecated': ['%s.%s' % (d.group or section, d.name or option.dest) for d in option.deprecated_opts]}

    conf = nova.conf.CONF
    add('DEFAULT', [info['opt'] for info in conf._opts.values()])
    for name, group in conf._groups.items():
        add(name, [info['opt'] for info in group._opts.values()])
    add('DEFAULT', transport._transport_opts + client._client_opts + server._pool_opts + log.common_cli_opts + log.logging_cli_opts + log.generic_log_opts + log.log_opts)
    add('oslo_messaging_rabbit', impl_rabbit.rabbit_opts + amqp.amqp_opts + base.base_opts)
    add('oslo_messaging_notifications', notifier._notifier_opts)
    add('os_vif_ovs', ovs.OvsPlugin.CONFIG_OPTS)
    for _, options in middleware.list_opts():
        add('keystone_authtoken', options)
    for section in ('placement', 'neutron', 'glance', 'cinder', 'service_user', 'keystone_authtoken'):
        for plugin in ('v3applicationcredential', 'password'):
            add(section, loading.get_auth_plugin_conf_options(plugin))
    keep = ['DEFAULT', 'compute', 'api', 'notifications', 'oslo_messaging_notifications', 'oslo_messaging_rabbit', 'placement', 'neutron', 'glance', 'cinder', 'service_user',
            'keystone_authtoken', 'os_vif_ovs', 'image_cache', 'serial_console', 'consoleauth', 'vnc', 'filter_scheduler', 'upgrade_levels', 'workarounds']
    for name in ('host', 'my_ip', 'console_host', 'pybasedir'):
        found['DEFAULT'][name]['default'] = '(of the recording host)'
    return {name: found[name] for name in keep}


def write(name, data):
    """One row a line, so that a change shows."""
    def rows(value):
        items = value.items() if isinstance(value, dict) else ((None, v) for v in value)
        return ',\n'.join(('%s: ' % json.dumps(k) if k else '') + json.dumps(v, ensure_ascii=False, sort_keys=True) for k, v in items)
    with open(os.path.join(HERE, name), 'w') as out:
        out.write('{\n' + ',\n'.join('%s: %s\n%s\n%s' % (json.dumps(k), *(('{', rows(v), '}') if isinstance(v, dict) else ('[', rows(v), ']'))) for k, v in data.items()) + '\n}\n')


if __name__ == '__main__':
    write('oslo.json', {'ini': [ini(t) for t in INI], 'values': [value(k, t) for k, texts in VALUES.items() for t in texts],
                        'sets': SETS, 'resolve': [resolve(c) for c in RESOLVE]})
    write('nova-options.json', nova_options())
