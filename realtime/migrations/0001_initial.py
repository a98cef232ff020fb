

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Instance',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('host', models.CharField(max_length=255)),
                ('pid', models.PositiveIntegerField(verbose_name='process id')),
                ('version', models.CharField(blank=True, max_length=64)),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('lease_until', models.DateTimeField(db_index=True)),
                ('ended_at', models.DateTimeField(blank=True, db_index=True, null=True)),
                ('epoch', models.PositiveIntegerField(default=1)),
                ('session_count', models.PositiveIntegerField(default=0, verbose_name='sessions')),
                ('cpu', models.FloatField(default=0, help_text='Share of one core, from 0 to 1', verbose_name='CPU')),
                ('memory', models.PositiveBigIntegerField(default=0, help_text='Resident, in bytes')),
                ('loop_delay', models.FloatField(default=0, help_text='The longest turn was late by, in seconds')),
                ('messages_in_rate', models.FloatField(default=0, verbose_name='messages in/s')),
                ('messages_out_rate', models.FloatField(default=0, verbose_name='messages out/s')),
            ],
            options={
                'ordering': ['-started_at'],
            },
        ),
        migrations.CreateModel(
            name='Session',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('epoch', models.PositiveIntegerField(default=1, help_text='That of the instance')),
                ('namespace', models.CharField(max_length=31)),
                ('topic', models.CharField(db_index=True, max_length=100)),
                ('address', models.CharField(blank=True, db_index=True, max_length=64)),
                ('user_agent', models.CharField(blank=True, max_length=255)),
                ('connected_at', models.DateTimeField(db_index=True)),
                ('closed_at', models.DateTimeField(blank=True, db_index=True, null=True)),
                ('close_code', models.PositiveIntegerField(blank=True, null=True)),
                ('messages_in', models.PositiveBigIntegerField(default=0)),
                ('messages_out', models.PositiveBigIntegerField(default=0)),
                ('bytes_in', models.PositiveBigIntegerField(default=0)),
                ('bytes_out', models.PositiveBigIntegerField(default=0)),
                ('errors', models.PositiveIntegerField(default=0, help_text='Error messages sent to the client')),
                ('skipped', models.PositiveBigIntegerField(default=0, help_text='Publications that newer ones took the place of')),
                ('waiting_bytes', models.PositiveBigIntegerField(default=0, help_text='What the client had not read when it was last counted')),
                ('instance', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sessions', to='realtime.instance')),
                ('user', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='realtime_sessions', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-connected_at'],
                'permissions': [('disconnect_session', 'Can disconnect a session')],
                'indexes': [models.Index(models.F('instance'), models.OrderBy(models.F('connected_at'), descending=True), condition=models.Q(('closed_at', None)), name='realtime_session_open'), models.Index(models.F('namespace'), models.OrderBy(models.F('connected_at'), descending=True), name='realtime_session_family')],
            },
        ),
        migrations.CreateModel(
            name='LiveTopic',
            fields=[
            ],
            options={
                'verbose_name': 'topic',
                'proxy': True,
                'default_permissions': (),
                'indexes': [],
                'constraints': [],
            },
            bases=('realtime.session',),
        ),
    ]
