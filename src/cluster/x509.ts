// The library needs the polyfill before its first line runs; importing it from here only keeps that order.
import 'reflect-metadata'

export * from '@peculiar/x509'
